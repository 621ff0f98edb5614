// Between deep-chat and the service: turns questions into runs and answers into messages.

import type { DeepChat } from 'deep-chat';
import { type Api, ApiError, messageOf } from './api';
import { Frame, questionOf } from './exchange';
import type { Memory } from './memory';
import { AnswerPoll, answersIn, endsWith, isAnswered } from './pending';
import { historyOf, metaHtml, pictures, readable, type Shown } from './render';
import { fill, type Texts } from './texts';
import { approvalHtml, areApprovals, type Decision, type ToolEvent, toolsHtml, type WaitingCall } from './tools';
import { type Answer, type Question, Turn, type TurnListener, UnreadableRun, type Usage } from './turn';

const MODEL_FAILED = new Set(['server_error', 'upstream_failed', 'upstream_broken']);

/** What deep-chat hands to a connection of its user's own. */
export interface Signals {
  onOpen(): void;
  onClose(): void;
  onResponse(response: Shown & { overwrite?: boolean; error?: string }): Promise<void>;
  stopClicked: { listener: () => void };
}

export interface ConversationListener {
  /** A passing notice, or nothing. */
  onNotice(text: string): void;
  /** For those who cannot see the answer arrive. */
  onAnnounce(text: string): void;
  /** What the conversation has used so far; NaN where that is not known. */
  onTokens(total: number): void;
  /** The messages anew. */
  onHistory(shown: Shown[]): void;
}

const NEAR_END_PIXELS = 60;

export class Conversation {
  private turn: Turn | null = null;
  private isStopped = false;
  /** How many answers the thread holds; null where that must be looked up. */
  private answers: number | null = 0;
  private poll: AnswerPoll | null = null;
  /** The calls of the turn so far, by their ids. */
  private readonly tools = new Map<string, ToolEvent>();
  /** The run that waits for approvals, and those that were given. */
  private waiting: { runId: string; calls: WaitingCall[]; decisions: Decision[] } | null = null;

  constructor(
    private readonly api: Api,
    private readonly memory: Memory,
    private readonly texts: Texts,
    private readonly listener: ConversationListener,
    private readonly chat: () => DeepChat,
    /** Whether each answer tells its tokens. */
    private readonly tellsTokens: boolean,
  ) {}

  /** The messages so far; a thread that is gone is forgotten. */
  async history(): Promise<Shown[]> {
    const threadId = this.memory.threadId;
    if (!threadId) return [];
    try {
      const usages = this.tellsTokens ? this.api.usages(threadId) : new Map();
      const messages = await this.api.messages(threadId);
      const shown = await historyOf(this.api, messages, await usages, this.texts);
      const pending = this.memory.pending;
      this.answers = answersIn(messages);
      if (pending && isAnswered(messages, pending)) await this.settle(threadId, pending.runId);
      // The question of a turn that is under way may reach the thread only with its answer.
      else if (pending?.question && !endsWith(messages, pending.question)) {
        shown.push({ role: 'user', text: pending.question });
      }
      this.listener.onTokens(this.memory.tokens);
      return shown;
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
      this.memory.forget();
      return [];
    }
  }

  /** Shows the rest of an answer that was under way when the page was left. */
  async resume(): Promise<void> {
    const { threadId, pending } = this.memory;
    if (!threadId || !pending) return;
    await this.follow(pending.runId, (turn) => turn.resume());
  }

  /** Approves or denies one call; when all are decided, the run goes on. */
  async decide(callId: string, decision: Decision['output']): Promise<void> {
    const { waiting } = this;
    if (!waiting || waiting.decisions.some(({ tool_call_id: id }) => id === callId)) return;
    waiting.decisions.push({ tool_call_id: callId, output: decision });
    if (waiting.decisions.length < waiting.calls.length) return;
    this.waiting = null;
    this.isStopped = false;
    this.memory.pending = { runId: waiting.runId, question: '', answersBefore: await this.countAnswers() };
    await this.follow(waiting.runId, (turn) => turn.decide(waiting.decisions));
  }

  /** Shows an answer that deep-chat did not ask for itself. */
  private async follow(runId: string | null, begin: (turn: Turn) => Promise<Answer>): Promise<void> {
    const chat = this.chat();
    let isBegun = false;
    const show = (text: string) => {
      const log = chat.shadowRoot?.querySelector('#messages');
      const follows = !isBegun || !log || log.scrollTop + log.clientHeight > log.scrollHeight - NEAR_END_PIXELS;
      chat.addMessage({ role: 'ai', text, overwrite: isBegun });
      if (follows) chat.scrollToBottom();
      isBegun = true;
    };
    chat.disableSubmitButton(true);
    this.listener.onNotice(this.texts.answering);
    const turn: Turn = new Turn(this.api, this.texts, this.hears(show, () => turn), this.memory.threadId, runId);
    this.turn = turn;
    try {
      const answer = await begin(turn);
      if (this.turn === turn) await this.finish(answer);
    } catch (error) {
      await this.conclude(turn, await this.recover(turn, error));
    } finally {
      this.listener.onNotice('');
      chat.disableSubmitButton(false);
    }
  }

  /** Answers one question of the person; deep-chat's handler. */
  async handle(body: unknown, signals: Signals): Promise<void> {
    const { text, files } = questionOf(body);
    this.isStopped = false;
    this.waiting = null;
    this.tools.clear();
    signals.onOpen();
    const frame = new Frame((value) => signals.onResponse({ text: value, overwrite: true }));
    const hears = this.hears((value) => frame.show(value), () => turn);
    const turn: Turn = new Turn(this.api, this.texts, hears, this.memory.threadId);
    this.turn = turn;
    signals.stopClicked.listener = () => this.stop();
    this.listener.onAnnounce(this.texts.answering);
    try {
      const question = await this.upload(text, files);
      const answersBefore = await this.countAnswers();
      if (this.turn === turn) this.memory.pending = { runId: null, question: text, answersBefore };
      const answer = await turn.ask(question);
      await frame.flush();
      signals.onClose();
      if (this.turn !== turn) return;
      await this.finish(answer);
      // It ended before it was stopped, or could not be stopped, and deep-chat shows no more of it.
      if (this.isStopped && answer.status === 'completed') await this.reload();
    } catch (error) {
      await frame.flush();
      const failure = await this.recover(turn, error);
      signals.onClose();
      await this.conclude(turn, failure);
    } finally {
      if (this.turn === turn) this.listener.onNotice('');
    }
  }

  stop(): void {
    this.isStopped = true;
    this.turn?.stop();
    this.poll?.end();
  }

  /** Lets the thread go; the next question begins a new one. */
  restart(): void {
    this.stop();
    this.turn = null;
    this.waiting = null;
    this.tools.clear();
    this.answers = 0;
    this.memory.forget();
    this.listener.onTokens(0);
    this.listener.onNotice('');
  }

  /** What a turn tells is heard while it is the conversation's latest; one that was left behind only ends. */
  private hears(show: (text: string) => void, turn: () => Turn): TurnListener {
    return {
      onStart: (threadId, runId) => {
        if (this.turn !== turn()) return;
        this.memory.threadId = threadId;
        if (this.memory.pending) this.memory.pending = { ...this.memory.pending, runId };
      },
      onText: (text, sources) => {
        if (this.turn !== turn() || this.isStopped) return;
        this.listener.onNotice('');
        show(readable(text, sources, this.api.base));
      },
      onTool: (tool) => {
        if (this.turn !== turn() || this.isStopped) return;
        this.tools.set(tool.id, tool);
        this.listener.onNotice(tool.status === 'in_progress' ? fill(this.texts.lookingUp, { name: tool.name }) : '');
      },
      onReconnect: () => this.turn === turn() && this.listener.onNotice(this.texts.reconnecting),
    };
  }

  private async upload(text: string, files: File[]): Promise<Question> {
    const question: Question = { text, images: [], documents: [] };
    if (!files.length) return question;
    this.listener.onNotice(this.texts.uploading);
    const ids = await Promise.all(files.map((file) => this.api.upload(file)));
    ids.forEach((id, index) => {
      const kind = files[index]?.type.startsWith('image/') ? question.images : question.documents;
      kind.push(id);
    });
    this.listener.onNotice('');
    return question.text || question.images.length
      ? question
      : { ...question, text: files.map((file) => file.name).join(', ') };
  }

  /** Waits where a run cannot be followed; returns the error that is left. */
  private async recover(turn: Turn, error: unknown): Promise<unknown> {
    const { threadId, pending } = this.memory;
    if (!(error instanceof UnreadableRun) || this.turn !== turn || !threadId || !pending) return error;
    this.poll = new AnswerPoll(this.api, this.texts, threadId, pending);
    return this.isStopped ? null : this.poll.run().catch((reason: unknown) => reason);
  }

  private async conclude(turn: Turn, failure: unknown): Promise<void> {
    if (this.turn !== turn) return;
    if (failure) this.fail(failure);
    else if (this.isStopped) await this.finish({ text: '', status: 'cancelled', sources: [], usage: null });
    else await this.reload();
  }

  /** Shows the messages anew, the turn's answer among them. */
  private async reload(): Promise<void> {
    const shown = await this.history();
    this.listener.onHistory(shown);
    const text = shown.findLast((message) => message.role === 'ai' && message.text)?.text ?? '';
    this.listener.onAnnounce(fill(this.texts.answered, { text }));
  }

  private async countAnswers(): Promise<number> {
    const threadId = this.memory.threadId;
    return (this.answers ??= threadId ? answersIn(await this.api.messages(threadId)) : 0);
  }

  private async finish(answer: Answer): Promise<void> {
    const runId = this.memory.pending?.runId ?? '';
    this.spent(answer.usage);
    // What is kept of an answer without an end is the upstream's choice.
    this.answers = answer.status === 'completed' && this.answers !== null ? this.answers + 1 : null;
    const chat = this.chat();
    for (const picture of await pictures(this.api, answer.sources)) chat.addMessage(picture);
    const usage = this.tellsTokens ? answer.usage : null;
    const folds = toolsHtml([...this.tools.values()], this.texts);
    this.tools.clear();
    if (folds) chat.addMessage({ role: 'ai', html: folds });
    const calls = answer.status === 'requires_action' ? (answer.tool_calls ?? []) : [];
    const asks = areApprovals(calls);
    const html = metaHtml(answer.text, answer.sources, usage, asks ? '' : this.note(answer.status), this.texts);
    if (html) chat.addMessage({ role: 'ai', html });
    if (asks) this.waiting = { runId, calls, decisions: [] };
    for (const call of asks ? calls : []) chat.addMessage({ role: 'ai', html: approvalHtml(call, this.texts) });
    this.listener.onAnnounce(fill(this.texts.answered, { text: readable(answer.text, answer.sources, this.api.base) }));
  }

  /** Counts an answer that ended while the page was away. */
  private async settle(threadId: string, runId: string | null): Promise<void> {
    const usage = runId && (await this.api.usage(threadId, runId));
    // The person may have begun anew meanwhile.
    if (this.memory.pending?.runId === runId) this.spent(usage || null);
  }

  /** Ends the turn in memory; what it used is added up, or the sum is not known any more. */
  private spent(usage: Usage | null): void {
    this.memory.pending = null;
    this.memory.tokens += usage?.total_tokens ?? NaN;
    this.listener.onTokens(this.memory.tokens);
  }

  private note(status: string): string {
    const notes: Record<string, string> = {
      cancelled: this.texts.stopped,
      incomplete: this.texts.incomplete,
      expired: this.texts.expired,
      requires_action: this.texts.needsTool,
    };
    return notes[status] ?? '';
  }

  private fail(error: unknown): void {
    if (this.memory.pending?.runId) this.spent(null);
    this.memory.pending = null;
    this.answers = null;
    let message = error instanceof ApiError ? messageOf(error) : this.texts.failed;
    if (error instanceof ApiError && error.status === 404) {
      this.memory.forget();
      message = this.texts.gone;
    }
    if (error instanceof ApiError && MODEL_FAILED.has(error.code ?? '')) message = this.texts.modelFailed;
    this.chat().addMessage({ error: message });
    this.listener.onAnnounce(message);
  }
}
