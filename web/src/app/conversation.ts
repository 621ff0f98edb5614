// The conversation on the page: what is shown, and what its turns do with it.

import type { HostEvent } from '../protocol';
import { awaitAnswer, isAnswered, since, storedQuestion, type StoredQuestion } from '../service/answers';
import type { Api } from '../service/api';
import { ApiError, codeOf, isGone, statusCode } from '../service/errors';
import type { KeptTurn, Memory, Upload } from '../service/memory';
import { type Answer, type OnDisconnect, type Question, Turn, type TurnListener, UnreadableRun, waitingCalls } from '../service/turn';
import type { Decision, Message } from '../service/wire';
import {
  answer,
  history,
  joinedText,
  keptQuestion,
  namedSources,
  outputFor,
  question,
  type ShownMessage,
  statusOf,
  tokensOf,
  uploadsOf,
  withTool,
} from './shown';
import { NOTHING, StateStore } from './state';
import { throttled } from './throttled';


/** The person has gone to another conversation. */
class Left extends Error {}

export class Conversation extends StateStore {
  /** Aborted when the person goes to another conversation. */
  private visit = new AbortController();
  private turn: Turn | null = null;
  private waiting = new AbortController();
  /** The thread's last message; undefined where that must be looked up. */
  private lastId: string | null | undefined = null;
  /** Ends when what is under way has ended: the loading of messages, or a turn. */
  private busy: Promise<void> = Promise.resolve();

  constructor(
    private readonly api: Api,
    private readonly memory: Memory,
    private readonly onDisconnect: OnDisconnect,
    private readonly tell: (name: HostEvent, detail: unknown) => void,
  ) {
    super();
    this.state = { ...NOTHING, threadId: memory.threadId };
  }

  /** Shows the conversation's messages, and takes up a turn that was under way. */
  load(): Promise<void> {
    return (this.busy = this.show());
  }

  /** Goes to another conversation, or to a new one; an answer under way goes on without the page. */
  async open(threadId: string | null): Promise<void> {
    this.leave();
    this.memory.threadId = threadId;
    this.state = { ...this.state, threadId };
    await this.load();
    this.tell('thread', { thread_id: threadId });
  }

  /** Begins a new conversation; an answer under way is stopped. */
  async restart(): Promise<void> {
    const { turn } = this;
    // An answer that this page has only taken up may be another tab's.
    if (turn?.isAsked) {
      this.turn = null;
      this.memory.keepTurn(this.state.threadId, null);
      void turn.stop();
    }
    this.memory.keepTurn(null, null);
    await this.open(null);
  }

  async ask(text: string, uploads: readonly Upload[] = []): Promise<void> {
    if (this.state.isRunning) return;
    const pictures = uploads.filter(({ isImage }) => isImage).map(({ id }) => id);
    const files = uploads.filter(({ isImage }) => !isImage);
    const before = this.state.messages;
    const failed = before.at(-1)?.status === 'failed' ? before.at(-2) : undefined;
    // Asking again what has just failed takes the failed turn's place.
    if (failed?.text === text && !uploads.length) return this.again(text);
    await this.begin(before, question(text, files, pictures), async () => null);
  }

  /** Asks for the host page, once what is under way has ended. */
  async askNext(text: string): Promise<void> {
    const { visit } = this;
    while (this.state.isLoading || this.state.isRunning) await this.busy;
    if (visit === this.visit) await this.ask(text);
  }

  /** Asks the last question again, in the words of `text` if they are new; its turn is replaced. */
  async again(text: string | null = null): Promise<void> {
    const { messages, isRunning } = this.state;
    const index = messages.findLastIndex(({ role }) => role === 'user');
    const old = messages[index];
    if (!old || isRunning) return;
    const fresh = { ...question(text ?? old.text, old.files, old.pictures), after: old.after };
    const words = text === null || text === old.text ? '' : text;
    await this.begin(messages.slice(0, index), fresh, () => this.stored(old), words);
  }

  /** Approves or denies one call; when all are decided, the run goes on. */
  async decide(callId: string, output: Decision['output']): Promise<void> {
    const message = this.state.messages.at(-1);
    if (!message?.runId || message.decisions.some(({ tool_call_id: id }) => id === callId)) return;
    const decisions = [...message.decisions, { tool_call_id: callId, output }];
    this.change(message.key, { decisions });
    if (decisions.length < message.calls.length) return;
    const decided = message.calls.map((call) => ({ ...call, output: outputFor(call.id, decisions) }));
    this.change(message.key, { status: 'running', calls: [], decided: [...message.decided, ...decided] });
    const { key, runId, text } = message;
    this.memory.keepTurn(this.state.threadId, { ...this.kept(question('', []), this.lastId ?? null), runId });
    await this.follow(key, runId, (turn) => turn.decide(decisions), text);
  }

  /** Stops the answer; where that cannot be done, the page says so and finds the answer when it is loaded again. */
  async stop(): Promise<void> {
    const { turn } = this;
    const key = this.state.messages.at(-1)?.key;
    if (!turn || !key) return;
    const isReached = await turn.stop();
    if (this.turn !== turn) return;
    if (!isReached) this.change(key, { note: 'notStopped' });
    this.waiting.abort();
  }

  /** Puts nothing back into the box any more. */
  takeDraft(): void {
    if (this.state.draft) this.set({ draft: '' });
  }

  /** Tells that a conversation was renamed or deleted elsewhere on the page. */
  async listChanged(deletedId: string | null): Promise<void> {
    if (deletedId && deletedId === this.state.threadId) await this.open(null);
    this.set({ listed: this.state.listed + 1 });
  }

  private async show(): Promise<void> {
    const { signal } = this.visit;
    const { threadId, listed } = this.state;
    this.set({ ...NOTHING, listed, threadId, isLoading: !!threadId });
    try {
      const messages = threadId ? await this.read(threadId) : [];
      if (!signal.aborted) this.takeUp(messages);
    } catch (error) {
      if (signal.aborted) return;
      if (threadId && isGone(error)) return this.forget(threadId);
      const kept = this.memory.turn(threadId);
      this.set({ isLoading: false, loadError: error, messages: kept ? [keptQuestion(kept)] : [] });
    }
  }

  private async read(threadId: string): Promise<Message[]> {
    const { signal } = this.visit;
    const messages = await this.api.messages(threadId);
    const shown = await history(this.api, messages, this.memory.answers);
    if (signal.aborted) return messages;
    this.lastId = messages.at(-1)?.id ?? null;
    this.set({ messages: shown, isLoading: false, loadError: null });
    return messages;
  }

  /** Adds to the loaded messages what only the browser knows: a turn under way, or one that has no answer. */
  private takeUp(messages: Message[]): void {
    const kept = this.memory.turn(this.state.threadId);
    this.set({ isLoading: false });
    if (!kept) return;
    if (!kept.isAsked) {
      this.memory.keepTurn(this.state.threadId, null);
      this.set({ draft: kept.question });
    } else if (kept.ended) this.showEnded(messages, kept, kept.ended);
    else if (isAnswered(messages, kept)) void this.settle(kept);
    else this.resume(messages, kept);
  }

  private showEnded(messages: Message[], kept: KeptTurn, { code, text }: { code: string | null; text: string }): void {
    if (since(messages, kept.after).some(({ role }) => role === 'assistant')) return this.memory.keepTurn(this.state.threadId, null);
    this.addUnstored(messages, kept);
    const ended = code === 'stopped' ? answer('stopped') : answer('failed', new ApiError(200, code));
    this.push({ ...ended, text, runId: kept.runId });
  }

  private resume(messages: Message[], kept: KeptTurn): void {
    if (kept.question || kept.files.length) this.addUnstored(messages, kept);
    const placeholder = answer('running');
    this.push(placeholder);
    if (this.state.threadId) void this.follow(placeholder.key, kept.runId, (turn) => turn.resume());
    else this.fail(placeholder.key, new ApiError(0, 'lost'));
  }

  /** Shows a question that the thread does not hold yet. */
  private addUnstored(messages: Message[], kept: KeptTurn): void {
    if (!since(messages, kept.after).some(({ role }) => role === 'user')) this.push(keptQuestion(kept));
  }

  private async stored({ id, after, text }: ShownMessage): Promise<StoredQuestion | null> {
    const { threadId } = this.state;
    return threadId ? storedQuestion(this.api, threadId, { id, after: after ?? null, text }) : null;
  }

  private async last(): Promise<string | null> {
    const { threadId } = this.state;
    if (this.lastId === undefined) this.lastId = threadId ? ((await this.api.newest(threadId, 1))[0]?.id ?? null) : null;
    return this.lastId;
  }

  /**
   * Asks a question after the messages `before`. `find` tells which stored question it takes the place of, and
   * `words` what that one is asked in; without words as the thread holds it.
   */
  private async begin(
    before: ShownMessage[],
    asked: ShownMessage,
    find: () => Promise<StoredQuestion | null>,
    words = asked.text,
  ): Promise<void> {
    const placeholder = answer('running');
    const { threadId } = this.state;
    this.memory.keepTurn(threadId, { ...this.kept(asked, null), isAsked: false });
    this.set({ messages: [...before, asked, placeholder], draft: '', problem: null, loadError: null });
    this.tell('question', {});
    let isReplacing = false;
    const start = async (turn: Turn) => {
      const replaced = await find();
      isReplacing = replaced !== null;
      asked.after = replaced ? replaced.before : await this.last();
      if (this.turn !== turn) throw new Left();
      this.memory.keepTurn(threadId, this.kept(asked, asked.after));
      return turn.ask(replaced ? { text: words, images: [], documents: [], replaces: replaced.id } : questionOf(asked));
    };
    await this.follow(placeholder.key, null, start, '', () => isReplacing);
  }

  private kept(asked: ShownMessage, after: string | null): KeptTurn {
    return { runId: null, question: asked.text, files: uploadsOf(asked), after, isAsked: true, ended: null };
  }

  /**
   * Carries a turn to its end in the answer of that key. `said` is what the answer held before; `isReplacing` is
   * whether the service puts another turn back where this one answers nothing.
   */
  private follow(
    key: string,
    runId: string | null,
    start: (turn: Turn) => Promise<Answer>,
    said = '',
    isReplacing = () => false,
  ): Promise<void> {
    this.waiting = new AbortController();
    const listener = this.listener(key, said, () => this.turn === turn);
    const turn: Turn = new Turn(this.api, listener, this.onDisconnect, this.state.threadId, runId);
    this.turn = turn;
    this.change(key, { runId });
    this.set({ isRunning: true });
    return (this.busy = this.carry(turn, key, start, said, isReplacing));
  }

  private async carry(turn: Turn, key: string, start: (turn: Turn) => Promise<Answer>, said: string, isReplacing: () => boolean): Promise<void> {
    const isCurrent = () => this.turn === turn;
    try {
      const ended = await start(turn);
      if (!isCurrent()) return;
      const isUndone = isReplacing() && statusOf(ended.status) === 'stopped' && !ended.text;
      if (!(isUndone && (await this.undone(null)))) this.finish(key, ended, said);
    } catch (error) {
      if (!isCurrent()) return;
      const wentOn = error instanceof ApiError && error.code === 'thread_went_on';
      const isUndone = (isReplacing() || wentOn) && !turn.isClosed && !(error instanceof UnreadableRun);
      if (!(isUndone && (await this.undone(error)))) await this.recover(key, turn, error);
    } finally {
      if (isCurrent()) {
        this.turn = null;
        this.set({ isRunning: false, notice: null, listed: this.state.listed + 1 });
      }
    }
  }

  /** Shows the thread as the service has it, and gives the words back; returns false where it cannot be read. */
  private async undone(problem: unknown): Promise<boolean> {
    const { threadId, messages } = this.state;
    const asked = messages.findLast(({ role }) => role === 'user');
    const { signal } = this.visit;
    const isRead = await this.read(threadId ?? '').then(
      () => true,
      () => false,
    );
    if (!isRead || signal.aborted) return signal.aborted;
    const now = this.lastQuestion;
    const draft = asked && asked.text !== now?.text ? asked.text : '';
    this.memory.keepTurn(threadId, asked && draft ? { ...this.kept(asked, null), isAsked: false } : null);
    this.set({ problem, draft });
    if (problem) this.tell('error', { code: codeOf(problem), status: statusCode(problem) });
    return true;
  }

  private listener(key: string, said: string, isCurrent: () => boolean): TurnListener {
    const show = throttled((change: Partial<ShownMessage>) => {
      if (isCurrent()) this.change(key, change);
    });
    const add = (more: (message: ShownMessage) => Partial<ShownMessage>) => {
      const message = this.message(key);
      if (isCurrent() && message) this.change(key, more(message));
    };
    return {
      onStart: (threadId, runId) => isCurrent() && this.started(key, threadId, runId),
      onText: (text, sources) => {
        show({ text: joinedText(said, text), sources: [...sources] });
        if (isCurrent() && this.state.notice) this.set({ notice: null });
      },
      onReasoning: (reasoning) => show({ reasoning }),
      onTool: (tool) => add(({ tools }) => ({ tools: withTool(tools, tool) })),
      onPicture: (id) => add(({ pictures }) => ({ pictures: [...new Set([...pictures, id])] })),
      onReconnect: () => isCurrent() && this.set({ notice: 'reconnecting' }),
    };
  }

  private started(key: string, threadId: string, runId: string): void {
    const before = this.state.threadId;
    const kept = this.memory.turn(before);
    this.change(key, { runId });
    this.set({ threadId });
    this.memory.threadId = threadId;
    if (before !== threadId) this.memory.keepTurn(before, null);
    if (kept) this.memory.keepTurn(threadId, { ...kept, runId });
    this.memory.touch(threadId, kept?.question || (kept?.files ?? []).map(({ name }) => name).join(', '));
    if (before !== threadId) this.tell('thread', { thread_id: threadId });
  }

  private finish(key: string, ended: Answer, said: string): void {
    const { usage, calls, sources, messageId } = ended;
    const status = statusOf(ended.status);
    this.change(key, { text: joinedText(said, ended.text), sources, usage, calls, status, id: messageId, decisions: [], note: null });
    this.lastId = messageId ?? undefined;
    void namedSources(this.api, sources).then((named) => this.change(key, { sources: named }));
    const runId = this.message(key)?.runId ?? null;
    if (status === 'stopped' && !ended.text && !said) this.keepEnded(key, 'stopped');
    // A run that waits for a person is not over: a reload must find it.
    else if (status !== 'requires_action') this.memory.keepTurn(this.state.threadId, null);
    if (messageId) this.memory.keepAnswer(messageId, { runId, status: ended.status, usage });
    this.tell('answer', { run_id: runId, status: ended.status });
    this.tellTokens();
  }

  /** Ends a turn that could not be followed: looks for its answer among the messages, or shows why not. */
  private async recover(key: string, turn: Turn, error: unknown): Promise<void> {
    const { threadId } = this.state;
    const kept = this.memory.turn(threadId);
    if (turn.isClosed) return this.stopped(key);
    if (!(error instanceof UnreadableRun) || !threadId || !kept) return this.fail(key, error);
    try {
      await awaitAnswer(this.api, threadId, kept, this.waiting.signal);
      if (this.turn !== turn) return;
      const isStopped = this.waiting.signal.aborted;
      if (isStopped) this.stopped(key);
      if (isStopped && this.message(key)?.note) return;
      await this.read(threadId);
      if (isStopped) return;
      await this.settle(kept);
      this.tell('answer', { run_id: kept.runId, status: 'completed' });
    } catch (reason) {
      if (this.turn === turn) this.fail(key, reason);
    }
  }

  private stopped(key: string): void {
    // An answer that could not be stopped is still to come.
    const isToCome = this.message(key)?.note === 'notStopped';
    if (!isToCome && this.message(key)?.text) this.memory.keepTurn(this.state.threadId, null);
    else if (!isToCome) this.keepEnded(key, 'stopped');
    this.change(key, { status: 'stopped' });
    this.lastId = undefined;
    this.tellTokens();
  }

  private fail(key: string, error: unknown): void {
    const { threadId } = this.state;
    const asked = this.lastQuestion;
    let shown = error;
    this.lastId = undefined;
    if (isGone(error) && threadId) {
      this.memory.forget(threadId);
      this.lastId = null;
      this.set({ threadId: null });
      shown = new ApiError(404, 'gone');
    } else this.keepEnded(key, codeOf(error));
    this.change(key, { status: 'failed', error: shown });
    this.set({ draft: this.message(key)?.text ? '' : (asked?.text ?? '') });
    this.tell('error', { code: codeOf(error), status: statusCode(error) });
    this.tellTokens();
  }

  /** Remembers a turn that ended without an answer in the thread. */
  private keepEnded(key: string, code: string | null): void {
    const asked = this.lastQuestion;
    const ended = this.message(key);
    if (!asked || !ended) return;
    const turn = { ...this.kept(asked, asked.after ?? null), runId: ended.runId, ended: { code, text: ended.text } };
    this.memory.keepTurn(this.state.threadId, turn);
  }

  private forget(threadId: string): void {
    this.memory.forget(threadId);
    this.lastId = null;
    this.set({ ...NOTHING, listed: this.state.listed + 1 });
  }

  /** Adds what the thread does not tell of an answer that ended while the page was away. */
  private async settle(kept: KeptTurn): Promise<void> {
    const { signal } = this.visit;
    const { threadId } = this.state;
    const { runId } = kept;
    this.memory.keepTurn(threadId, null);
    const run = threadId && runId ? await this.api.run(threadId, runId) : null;
    const last = this.state.messages.at(-1);
    if (signal.aborted || last?.role !== 'assistant') return;
    if (run?.status === 'requires_action') {
      this.memory.keepTurn(threadId, kept);
      return this.change(last.key, { runId, status: 'requires_action', calls: waitingCalls(run) });
    }
    const usage = run?.usage ?? null;
    if (last.id) this.memory.keepAnswer(last.id, { runId, status: run?.status ?? 'cancelled', usage });
    this.change(last.key, { runId, usage });
    this.tellTokens();
  }

  private tellTokens(): void {
    this.tell('tokens', tokensOf(this.state.messages));
  }

  private leave(): void {
    this.visit.abort();
    this.visit = new AbortController();
    this.turn?.close();
    this.turn = null;
    this.waiting.abort();
    this.lastId = undefined;
  }
}

function questionOf(asked: ShownMessage): Question {
  return { text: asked.text, images: asked.pictures, documents: asked.files.map(({ id }) => id), replaces: null };
}
