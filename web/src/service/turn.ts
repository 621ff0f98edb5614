// One turn of a conversation: the question out, the answer in, over broken connections too.

import type { Api } from './api';
import { ApiError, isPassing } from './errors';
import { type ServerEvent, serverEvents } from './sse';
import type { Annotation, Decision, MessagePart, RunObject, Source, ToolEvent, Usage, WaitingCall } from './wire';

export interface Answer {
  text: string;
  status: string;
  sources: Source[];
  usage: Usage | null;
  /** The id of the answer's last message; null where the stream did not tell it. */
  messageId: string | null;
  /** What a run waits for that has the status requires_action. */
  calls: WaitingCall[];
}

export interface Question {
  text: string;
  /** Ids of uploaded files. */
  images: string[];
  documents: string[];
  /** The message whose turn, and all after it, this question takes the place of. */
  replaces: string | null;
}

export interface TurnListener {
  onStart(threadId: string, runId: string): void;
  /** The answer as far as it is known. */
  onText(text: string, sources: Source[]): void;
  onReasoning(text: string): void;
  onTool(tool: ToolEvent): void;
  onPicture(fileId: string): void;
  onReconnect(): void;
}

/** Whether a run goes on when its page is gone: in the service that reads it on, or upstream in the background. */
export type OnDisconnect = 'finish' | 'detach';

const RETRY_DELAYS_MS = [300, 1000, 2000, 4000, 8000, 8000, 8000];
const LIVE = new Set(['queued', 'in_progress', 'cancelling']);
/** How long somebody who stops a turn waits for the service to name its run. */
const BEGIN_WAIT_MS = 10_000;
/** How long a cancelled run's stream may take to end by itself, with what was said until then. */
const CANCEL_GRACE_MS = 5000;

/** The stream ended without its end. */
class BrokenStream extends Error {}

/** The run's events cannot be had: some upstreams know a foreground run only when it has ended, or never. */
export class UnreadableRun extends Error {}

/** The run itself failed: asking again for its events would only tell the same. */
class RunFailed extends ApiError {}

export class Turn {
  /** Whether it was asked here, and not only taken up. */
  isAsked = false;
  private text = '';
  private messageId: string | null = null;
  private sources: Source[] = [];
  private reasoning = '';
  private answer: Answer | null = null;
  private cancelling: Promise<boolean> | null = null;
  private readonly closing = new AbortController();
  private begun: () => void = () => undefined;
  private readonly isBegun = new Promise<void>((resolve) => (this.begun = resolve));

  constructor(
    private readonly api: Api,
    private readonly listener: TurnListener,
    private readonly onDisconnect: OnDisconnect,
    private threadId: string | null,
    private runId: string | null = null,
  ) {
    if (runId) this.begun();
  }

  get isClosed(): boolean {
    return this.closing.signal.aborted;
  }

  /** Asks, and follows the answer to its end. */
  async ask(question: Question): Promise<Answer> {
    return this.follow(await this.open(question));
  }

  /** Approves or denies the calls that the run waits for, and follows it to its end. */
  async decide(decisions: Decision[]): Promise<Answer> {
    const ids = { thread_id: this.threadId, run_id: this.runId };
    return this.follow(await this.post('/chat', { ...ids, tool_outputs: decisions }));
  }

  /** Follows a run that an earlier page began. */
  resume(): Promise<Answer> {
    return this.follow(null);
  }

  /**
   * Cancels the run, as soon as it is known; its stream then tells the end. Returns whether the run was reached:
   * if not, the stream is closed and the run goes on.
   */
  async stop(): Promise<boolean> {
    await Promise.race([this.isBegun, new Promise((resolve) => setTimeout(resolve, BEGIN_WAIT_MS))]);
    this.cancelling ??= this.cancel();
    const isReached = await this.cancelling;
    setTimeout(() => this.closing.abort(), isReached ? CANCEL_GRACE_MS : 0);
    return isReached;
  }

  /** Lets go of the stream; the run goes on. */
  close(): void {
    this.closing.abort();
  }

  private open({ text, images, documents, replaces }: Question): Promise<Response> {
    if (replaces) {
      const message = text ? { message: text } : {};
      return this.post('/chat', { ...message, thread_id: this.threadId, replaces });
    }
    if (!images.length && !documents.length) return this.post('/chat', { message: text, thread_id: this.threadId });
    const message = withFiles(text, images, documents);
    if (this.threadId) return this.post(`/threads/${this.threadId}/runs`, { additional_messages: [message] });
    return this.post('/threads/runs', { thread: { messages: [message] } });
  }

  private async post(path: string, body: object): Promise<Response> {
    this.isAsked = true;
    const whole: Record<string, unknown> = { ...body, stream: true, on_disconnect: this.onDisconnect };
    if (path !== '/chat') whole.assistant_id = await this.api.assistantId();
    return this.api.post(path, whole, { signal: this.closing.signal });
  }

  private async follow(first: Response | null): Promise<Answer> {
    let response = first;
    for (let attempt = 0; ; attempt++) {
      const known = this.text.length;
      try {
        response ??= await this.reopen();
        const answer = await this.read(response);
        // Only then does the thread hold what a stopped answer said.
        await this.cancelling;
        return answer;
      } catch (error) {
        if (this.isClosed) throw error;
        const mayReopen = error instanceof BrokenStream || isPassing(error);
        if (!mayReopen || error instanceof RunFailed) throw error;
        if (this.text.length > known) attempt = 0;
        if (!this.runId || attempt >= RETRY_DELAYS_MS.length) throw new ApiError(0, 'lost');
        this.listener.onReconnect();
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAYS_MS[attempt]));
      }
      response = null;
    }
  }

  /** Opens the run's events from the first one on: a foreground run's have other ids than its stream had. */
  private async reopen(): Promise<Response> {
    if (!this.runId) throw new UnreadableRun();
    const path = `/threads/${this.threadId}/runs/${this.runId}/events`;
    const response = await this.api.send(path, { signal: this.closing.signal }).catch((error: unknown) => {
      throw error instanceof ApiError && [400, 404].includes(error.status) ? new UnreadableRun() : error;
    });
    this.text = '';
    this.messageId = null;
    this.sources = [];
    this.reasoning = '';
    return response;
  }

  private async read(response: Response): Promise<Answer> {
    if (!response.body) throw new BrokenStream();
    try {
      for await (const event of serverEvents(response.body)) {
        await this.take(event);
        if (this.answer) return this.answer;
      }
    } catch (error) {
      // A connection that breaks is a TypeError in every browser.
      throw error instanceof TypeError ? new BrokenStream() : error;
    }
    throw new BrokenStream();
  }

  private async take({ name, data }: ServerEvent): Promise<void> {
    if (data === '[DONE]') return;
    const value = JSON.parse(data);
    if (name === 'error') await this.takeError(value.error);
    else if (name === 'thread') this.begin(value.thread_id, value.run_id);
    else if (name === 'delta') this.add(value.text);
    else if (name === 'reasoning' || name === 'commentary') this.think(value.text);
    else if (name === 'tool') this.listener.onTool(value);
    else if (name === 'picture') this.listener.onPicture(value.file_id);
    else if (name === 'annotation') this.sources.push(value);
    else if (name === 'done') this.takeDone(value);
    else if (name === 'thread.message.delta') this.takeMessageDelta(value);
    else if (name.startsWith('thread.run.') && !name.startsWith('thread.run.step.')) this.takeRun(value);
  }

  private takeDone(done: Record<string, unknown>): void {
    const text = typeof done.message === 'string' && done.message ? done.message : this.text;
    this.end({
      text,
      status: String(done.status),
      sources: (done.annotations as Source[] | null) ?? [],
      usage: (done.usage as Usage | null) ?? null,
      messageId: (done.message_id as string | null) ?? null,
      calls: (done.tool_calls as WaitingCall[] | null) ?? [],
    });
  }

  private takeMessageDelta(message: { id: string; delta: { content: MessagePart[] } }): void {
    for (const part of message.delta.content) {
      const piece = part.text?.value ?? part.refusal ?? '';
      if (piece && this.messageId && this.messageId !== message.id) this.add('\n\n');
      if (piece) this.messageId = message.id;
      this.add(piece);
      if (part.image_file) this.listener.onPicture(part.image_file.file_id);
      for (const annotation of part.text?.annotations ?? []) this.sources.push(flat(annotation));
    }
  }

  private takeRun(run: RunObject): void {
    this.begin(run.thread_id, run.id);
    if (LIVE.has(run.status)) return;
    if (run.status === 'failed') throw new RunFailed(200, run.last_error?.code ?? null, run.last_error?.message);
    const calls = waitingCalls(run);
    const { text, sources, messageId } = this;
    this.end({ text, status: run.status, sources, usage: run.usage, messageId, calls });
  }

  /** An error event ends the stream, but not always the run. */
  private async takeError(error: { message?: string; code?: string | null }): Promise<void> {
    if (this.runId && (await this.isLive())) throw new BrokenStream();
    throw new RunFailed(200, error.code ?? null, error.message);
  }

  private async isLive(): Promise<boolean> {
    try {
      const run = await this.api.json<RunObject>(`/threads/${this.threadId}/runs/${this.runId}`);
      return LIVE.has(run.status) || run.status === 'completed';
    } catch (error) {
      return isPassing(error);
    }
  }

  private async cancel(): Promise<boolean> {
    if (!this.runId) return false;
    const path = `/threads/${this.threadId}/runs/${this.runId}/cancel`;
    return this.api.post(path, {}, { keepalive: true }).then(
      () => true,
      () => false,
    );
  }

  private begin(threadId: string, runId: string): void {
    if (this.runId === runId && this.threadId === threadId) return;
    this.threadId = threadId;
    this.runId = runId;
    this.begun();
    this.listener.onStart(threadId, runId);
  }

  private add(piece: string): void {
    if (!piece) return;
    this.text += piece;
    this.listener.onText(this.text, this.sources);
  }

  private think(piece: string): void {
    this.reasoning += piece;
    this.listener.onReasoning(this.reasoning);
  }

  private end(answer: Answer): void {
    if (answer.text !== this.text) this.listener.onText(answer.text, answer.sources);
    this.answer = answer;
  }
}

/** The calls that a run waits for. */
export function waitingCalls(run: RunObject): WaitingCall[] {
  const waiting = run.required_action?.submit_tool_outputs.tool_calls ?? [];
  return waiting.map(({ id, approval, function: called }) => ({ id, approval, ...called }));
}

/** The flat form of an Assistants annotation. */
export function flat(annotation: Annotation): Source {
  const source: Source = { type: annotation.type };
  const fileId = annotation.file_path?.file_id ?? annotation.file_citation?.file_id;
  if (fileId) source.file_id = fileId;
  if (annotation.url_citation) Object.assign(source, annotation.url_citation);
  if (annotation.type === 'file_path' && annotation.text) {
    const name = annotation.text.split('/').pop();
    if (name) source.filename = name;
  }
  return source;
}

function withFiles(text: string, images: string[], documents: string[]): object {
  const content: object[] = text ? [{ type: 'text', text }] : [];
  for (const id of images) content.push({ type: 'image_file', image_file: { file_id: id } });
  return { role: 'user', content, attachments: documents.map((id) => ({ file_id: id, tools: [] })) };
}
