// The conversation on the page: what is shown, and what its turns do with it.

import type { HostEvent } from '../protocol';
import type { Api } from '../service/api';
import { ApiError, isNotFound } from '../service/errors';
import type { Memory, Pending } from '../service/memory';
import { awaitAnswer, isAnswered, since } from '../service/pending';
import { type Answer, type OnDisconnect, type Question, Turn, type TurnListener, UnreadableRun, waitingCalls } from '../service/turn';
import type { Decision, Message, ToolEvent, Usage } from '../service/wire';
import { answer, history, namedSources, question, type ShownFile, type ShownMessage, statusOf } from './messages';

export interface State {
  messages: ShownMessage[];
  isRunning: boolean;
  isLoading: boolean;
  /** Why the conversation could not be loaded. */
  loadError: unknown;
  /** A passing notice, by its name among the words. */
  notice: 'reconnecting' | null;
  threadId: string | null;
  /** What the conversation has used; NaN where that is not known. */
  tokens: number;
  /** A question that goes back into the box. */
  draft: string;
  /** Counts changes of the list of conversations. */
  listed: number;
}

/** A file that was uploaded for a question. */
export interface Upload extends ShownFile {
  isImage: boolean;
}

const NOTHING: State = {
  messages: [],
  isRunning: false,
  isLoading: false,
  loadError: null,
  notice: null,
  threadId: null,
  tokens: 0,
  draft: '',
  listed: 0,
};
/** A fast model sends more pieces than a screen can show. */
const SHOW_EVERY_MS = 40;

export class Conversation {
  state: State = NOTHING;
  private readonly listeners = new Set<() => void>();
  private turn: Turn | null = null;
  private waiting = new AbortController();
  /** The thread's last message; undefined where that must be looked up. */
  private lastId: string | null | undefined = null;

  constructor(
    private readonly api: Api,
    private readonly memory: Memory,
    private readonly onDisconnect: OnDisconnect,
    private readonly tell: (name: HostEvent, detail: unknown) => void,
  ) {}

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Shows the conversation of the last visit, and the rest of an answer that was under way. */
  async load(): Promise<void> {
    const { threadId } = this.memory;
    this.set({ ...NOTHING, listed: this.state.listed, threadId, tokens: this.memory.tokens, isLoading: !!threadId });
    try {
      const messages = threadId ? await this.read(threadId) : [];
      if (this.memory.threadId === threadId) await this.takeUp(messages);
    } catch (error) {
      if (this.memory.threadId !== threadId) return;
      if (threadId && isNotFound(error)) return this.forget(threadId);
      const known = this.of(threadId, this.memory.pending);
      const messages = known ? [question(known.question, named(known.files))] : [];
      this.set({ isLoading: false, loadError: error, messages });
    }
  }

  /** Goes to another conversation, or to a new one; an answer under way goes on without the page. */
  async open(threadId: string | null): Promise<void> {
    this.leave();
    this.memory.open(threadId);
    await this.load();
    this.tell('thread', { thread_id: threadId });
  }

  /** Begins a new conversation; an answer under way is stopped. */
  async restart(): Promise<void> {
    const { turn } = this;
    this.turn = null;
    void turn?.stop();
    this.memory.pending = null;
    this.memory.failed = null;
    await this.open(null);
  }

  async ask(text: string, uploads: readonly Upload[] = []): Promise<void> {
    if (this.state.isRunning) return;
    const pictures = uploads.filter(({ isImage }) => isImage).map(({ id }) => id);
    const files = uploads.filter(({ isImage }) => !isImage);
    const before = this.state.messages;
    const failed = before.at(-1)?.status === 'failed' ? before.at(-2) : undefined;
    // Asking again what has just failed takes the failed turn's place.
    if (failed?.text === text && !files.length && !pictures.length) return this.again(text);
    await this.begin(before, question(text, files, pictures), async (message) => {
      message.after = await this.last();
      return { text, images: pictures, documents: files.map(({ id }) => id), replaces: null };
    });
  }

  /** Asks the last question again, in the words of `text` if they are new; its turn is replaced. */
  async again(text: string | null = null): Promise<void> {
    const { messages, isRunning, threadId } = this.state;
    const index = messages.findLastIndex(({ role }) => role === 'user');
    const old = messages[index];
    if (!old || isRunning) return;
    const fresh = { ...question(text ?? old.text, old.files, old.pictures), after: old.after };
    await this.begin(messages.slice(0, index), fresh, async (message) => {
      const stored = threadId ? await this.storedQuestion(threadId, old) : null;
      if (stored) {
        message.after = stored.before;
        return { text: text === null || text === old.text ? '' : text, images: [], documents: [], replaces: stored.id };
      }
      message.after = await this.last();
      return { text: message.text, images: old.pictures, documents: old.files.map(({ id }) => id), replaces: null };
    });
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
    this.memory.pending = this.pendingOf('', [], this.lastId ?? null, message.runId);
    const { key, runId, text } = message;
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

  private async read(threadId: string): Promise<Message[]> {
    const messages = await this.api.messages(threadId);
    const shown = await history(this.api, messages, this.memory.answers);
    if (this.memory.threadId !== threadId) return messages;
    this.lastId = messages.at(-1)?.id ?? null;
    this.set({ messages: shown, isLoading: false, loadError: null });
    return messages;
  }

  /** Adds to the loaded messages what only the browser knows: a turn under way, or one that failed. */
  private async takeUp(messages: Message[]): Promise<void> {
    const pending = this.of(this.state.threadId, this.memory.pending);
    const failed = this.of(this.state.threadId, this.memory.failed);
    this.set({ isLoading: false });
    if (pending?.isAsked === false) {
      this.memory.pending = null;
      return this.set({ draft: pending.question });
    }
    if (pending && isAnswered(messages, pending)) return this.settle(pending);
    if (pending) return this.resume(messages, pending);
    if (!failed || since(messages, failed.after).some(({ role }) => role === 'assistant')) return;
    this.addUnstored(messages, failed);
    this.push({ ...answer('failed', new ApiError(200, failed.code)), text: failed.text });
  }

  /** What is remembered of a turn, if it was this conversation's. */
  private of<T extends { threadId: string | null }>(threadId: string | null, turn: T | null): T | null {
    return turn?.threadId === threadId ? turn : null;
  }

  private async resume(messages: Message[], pending: Pending): Promise<void> {
    if (pending.question || pending.files.length) this.addUnstored(messages, pending);
    if (!pending.threadId) {
      this.push(answer('failed', new ApiError(0, 'lost')));
      this.memory.pending = null;
      return;
    }
    const placeholder = answer('running');
    this.push(placeholder);
    await this.follow(placeholder.key, pending.runId, (turn) => turn.resume());
  }

  /** Shows a question that the thread does not hold yet. */
  private addUnstored(messages: Message[], turn: { question: string; files: string[]; after: string | null }): void {
    if (since(messages, turn.after).some(({ role }) => role === 'user')) return;
    this.push({ ...question(turn.question, named(turn.files)), after: turn.after });
  }

  /** Where the thread keeps a question: its id, and that of the message before it. */
  private async storedQuestion(threadId: string, asked: ShownMessage): Promise<{ id: string; before: string | null } | null> {
    const newest = await this.api.newest(threadId, 100);
    const isWanted = (message: Message) => (asked.id ? message.id === asked.id : message.role === 'user');
    const index = newest.findIndex(isWanted);
    const after = newest.findIndex(({ id }) => id === asked.after);
    // A question that was refused is not in the thread: the last one there belongs to an earlier turn.
    if (index < 0 || (!asked.id && after >= 0 && index > after)) return null;
    return { id: newest[index]?.id ?? '', before: newest[index + 1]?.id ?? null };
  }

  private async last(): Promise<string | null> {
    const { threadId } = this.state;
    if (this.lastId === undefined) this.lastId = threadId ? ((await this.api.newest(threadId, 1))[0]?.id ?? null) : null;
    return this.lastId;
  }

  private async begin(
    before: ShownMessage[],
    asked: ShownMessage,
    prepare: (asked: ShownMessage) => Promise<Question>,
  ): Promise<void> {
    const placeholder = answer('running');
    const names = asked.files.map(({ name }) => name ?? '');
    this.memory.failed = null;
    this.memory.pending = { ...this.pendingOf(asked.text, names, null, null), isAsked: false };
    this.set({ messages: [...before, asked, placeholder], draft: '', loadError: null });
    this.tell('question', {});
    await this.follow(placeholder.key, null, async (turn) => {
      const prepared = await prepare(asked);
      this.memory.pending = this.pendingOf(asked.text, names, asked.after ?? null, null);
      return turn.ask(prepared);
    });
  }

  private pendingOf(text: string, files: string[], after: string | null, runId: string | null): Pending {
    return { threadId: this.state.threadId, runId, question: text, files, after, isAsked: true };
  }

  /** Carries a turn to its end in the answer of that key. `said` is what the answer held before. */
  private async follow(key: string, runId: string | null, start: (turn: Turn) => Promise<Answer>, said = ''): Promise<void> {
    this.waiting = new AbortController();
    const turn: Turn = new Turn(this.api, this.listener(key, said, () => this.turn === turn), this.onDisconnect, this.state.threadId, runId);
    this.turn = turn;
    this.change(key, { runId });
    this.set({ isRunning: true });
    try {
      const ended = await start(turn);
      if (this.turn === turn) this.finish(key, ended, said);
    } catch (error) {
      if (this.turn === turn) await this.recover(key, turn, error);
    } finally {
      if (this.turn === turn) {
        this.turn = null;
        this.set({ isRunning: false, notice: null, listed: this.state.listed + 1 });
      }
    }
  }

  private listener(key: string, said: string, isCurrent: () => boolean): TurnListener {
    const show = throttled((change: Partial<ShownMessage>) => {
      if (isCurrent()) this.change(key, change);
    });
    const add = (more: (message: ShownMessage) => Partial<ShownMessage>) => {
      const message = this.state.messages.find((one) => one.key === key);
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
    const isNew = this.state.threadId !== threadId;
    this.change(key, { runId });
    this.set({ threadId });
    this.memory.threadId = threadId;
    const { pending } = this.memory;
    if (pending) this.memory.pending = { ...pending, threadId, runId };
    this.memory.touch(threadId, pending?.question || pending?.files.join(', ') || '');
    if (isNew) this.tell('thread', { thread_id: threadId });
  }

  private finish(key: string, ended: Answer, said: string): void {
    const { usage, calls, sources, messageId } = ended;
    const status = statusOf(ended.status);
    this.change(key, { text: joinedText(said, ended.text), sources, usage, calls, status, id: messageId, decisions: [], note: null });
    this.lastId = messageId ?? undefined;
    void namedSources(this.api, sources).then((named) => this.change(key, { sources: named }));
    const runId = this.state.messages.at(-1)?.runId ?? null;
    // A run that waits for a person is not over: a reload must find it.
    if (status !== 'requires_action') {
      this.memory.pending = null;
      this.spend(usage);
    }
    if (messageId) this.memory.keepAnswer(messageId, { runId, status: ended.status, usage });
    this.tell('answer', { run_id: runId, status: ended.status });
  }

  /** Ends a turn that could not be followed: looks for its answer among the messages, or shows why not. */
  private async recover(key: string, turn: Turn, error: unknown): Promise<void> {
    const { pending, threadId } = this.memory;
    if (turn.isClosed) return this.stopped(key);
    if (!(error instanceof UnreadableRun) || !threadId || !pending) return this.fail(key, error);
    try {
      await awaitAnswer(this.api, threadId, pending, this.waiting.signal);
      if (this.turn !== turn) return;
      const isStopped = this.waiting.signal.aborted;
      if (isStopped) this.stopped(key);
      if (isStopped && this.memory.pending) return;
      await this.read(threadId);
      if (isStopped) return;
      await this.settle(pending);
      this.tell('answer', { run_id: pending.runId, status: 'completed' });
    } catch (reason) {
      if (this.turn === turn) this.fail(key, reason);
    }
  }

  private stopped(key: string): void {
    const message = this.state.messages.find((one) => one.key === key);
    // An answer that could not be stopped is still to come.
    if (message?.note !== 'notStopped') this.memory.pending = null;
    this.change(key, { status: 'stopped' });
    this.lastId = undefined;
    this.spend(null);
  }

  private fail(key: string, error: unknown): void {
    const { pending } = this.memory;
    const code = error instanceof ApiError ? error.code : null;
    const asked = this.state.messages.findLast(({ role }) => role === 'user');
    const text = this.state.messages.find((one) => one.key === key)?.text ?? '';
    this.memory.pending = null;
    this.lastId = undefined;
    if (pending?.runId) this.spend(null);
    if (isNotFound(error) && this.state.threadId) {
      this.memory.forget(this.state.threadId);
      this.lastId = null;
      this.set({ threadId: null, tokens: 0 });
      error = new ApiError(404, 'gone');
    } else if (asked) {
      const names = asked.files.map(({ name }) => name ?? '');
      this.memory.failed = { threadId: this.state.threadId, after: asked.after ?? null, question: asked.text, files: names, text, code };
    }
    this.change(key, { status: 'failed', error });
    this.set({ draft: text ? '' : (asked?.text ?? '') });
    this.tell('error', { code, status: error instanceof ApiError ? error.status : null });
  }

  private forget(threadId: string): void {
    this.memory.forget(threadId);
    this.lastId = null;
    this.set({ ...NOTHING, listed: this.state.listed + 1 });
  }

  /** Counts an answer that ended while the page was away; one that waits for a person goes on to. */
  private async settle(pending: Pending): Promise<void> {
    const { threadId, runId } = pending;
    this.memory.pending = null;
    const run = threadId && runId ? await this.api.run(threadId, runId) : null;
    if (this.memory.threadId !== threadId) return;
    const last = this.state.messages.at(-1);
    if (last && run?.status === 'requires_action') {
      this.memory.pending = pending;
      return this.change(last.key, { runId, status: 'requires_action', calls: waitingCalls(run) });
    }
    const usage = run?.usage ?? null;
    this.spend(usage);
    if (last?.role !== 'assistant' || !last.id) return;
    this.memory.keepAnswer(last.id, { runId, status: run?.status ?? 'cancelled', usage });
    this.change(last.key, { runId, usage });
  }

  private spend(usage: Usage | null): void {
    this.memory.tokens += usage?.total_tokens ?? NaN;
    this.set({ tokens: this.memory.tokens });
    this.tell('tokens', this.memory.tokens);
  }

  private leave(): void {
    this.turn?.close();
    this.turn = null;
    this.waiting.abort();
    this.lastId = undefined;
  }

  private push(message: ShownMessage): void {
    this.set({ messages: [...this.state.messages, message] });
  }

  private change(key: string, change: Partial<ShownMessage>): void {
    this.set({ messages: this.state.messages.map((one) => (one.key === key ? { ...one, ...change } : one)) });
  }

  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }
}

function named(files: string[]): ShownFile[] {
  return files.map((name) => ({ id: '', name }));
}

function outputFor(callId: string, decisions: Decision[]): Decision['output'] {
  return decisions.find(({ tool_call_id: id }) => id === callId)?.output ?? 'deny';
}

function joinedText(said: string, text: string): string {
  return said && text ? `${said}\n\n${text}` : said || text;
}

function withTool(tools: ToolEvent[], tool: ToolEvent): ToolEvent[] {
  const index = tools.findIndex(({ id }) => id === tool.id);
  return index < 0 ? [...tools, tool] : tools.with(index, tool);
}

/** Hands changes on together, a few times a second. */
function throttled<T extends object>(show: (change: T) => void): (change: T) => void {
  let waiting: T | null = null;
  return (change) => {
    if (!waiting) {
      setTimeout(() => {
        const due = waiting;
        waiting = null;
        if (due) show(due);
      }, SHOW_EVERY_MS);
    }
    waiting = { ...waiting, ...change } as T;
  };
}
