// One turn of the conversation: the question out, the answer in, over broken connections too.

import { type Api, ApiError } from './api';
import { type ServerEvent, serverEvents } from './sse';
import type { Texts } from './texts';
import type { Decision, ToolEvent, WaitingCall } from './tools';

export interface Source {
  type: string;
  file_id?: string;
  filename?: string;
  url?: string;
  title?: string;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** What runs used, by their ids. */
export type Usages = Map<string, Usage>;

export interface Answer {
  text: string;
  status: string;
  sources: Source[];
  usage: Usage | null;
  /** What a run waits for that has the status requires_action. */
  tool_calls?: WaitingCall[];
}

export interface Question {
  text: string;
  images: string[];
  documents: string[];
}

export interface TurnListener {
  onStart(threadId: string, runId: string): void;
  /** The answer as far as it is known; called for each piece. */
  onText(text: string, sources: Source[]): void;
  onTool(tool: ToolEvent): void;
  onReconnect(): unknown;
}

const RETRY_DELAYS_MS = [300, 1000, 2000, 4000, 8000, 8000, 8000];
const LIVE = new Set(['queued', 'in_progress', 'cancelling']);

/** The stream ended without its end. */
class BrokenStream extends Error {}

/** The run's events cannot be had: some upstreams know a foreground run only when it has ended, or never. */
export class UnreadableRun extends Error {}

/** The run itself failed: asking again for its events would only tell the same. */
class RunFailed extends ApiError {
  constructor(message: string, code: string | null = null) {
    super(message, 200, code);
  }
}

interface RunObject {
  id: string;
  thread_id: string;
  status: string;
  usage: Usage | null;
  last_error: { message: string; code: string } | null;
  required_action: { submit_tool_outputs: { tool_calls: FunctionCall[] } } | null;
}

interface FunctionCall {
  id: string;
  approval?: 'required';
  function: { name: string; arguments: string };
}

export class Turn {
  private text = '';
  /** How much of the text was shown; a stream that is taken up tells all of it again. */
  private shown = 0;
  private messageId = '';
  private sources: Source[] = [];
  private answer: Answer | null = null;
  private isStopped = false;
  private cancelling: Promise<unknown> | null = null;

  constructor(
    private readonly api: Api,
    private readonly texts: Texts,
    private readonly listener: TurnListener,
    private threadId: string | null,
    private runId: string | null = null,
  ) {}

  /** Asks, and follows the answer to its end. */
  async ask(question: Question): Promise<Answer> {
    const response = await this.open(question);
    return this.follow(response);
  }

  /** Approves or denies the calls that the run waits for, and follows it to its end. */
  async decide(decisions: Decision[]): Promise<Answer> {
    const ids = { thread_id: this.threadId, run_id: this.runId };
    return this.follow(await this.api.post('/chat', { ...ids, tool_outputs: decisions, stream: true, on_disconnect: 'detach' }));
  }

  /** Follows a run that an earlier page began. */
  resume(): Promise<Answer> {
    return this.follow(null);
  }

  /** Stops the run; before its id is known, as soon as it is. */
  stop(): void {
    this.isStopped = true;
    if (this.runId) this.cancel();
  }

  private async open(question: Question): Promise<Response> {
    if (!question.images.length && !question.documents.length) {
      // A reload or a weak network must not lose the answer: it goes on, and the events route brings the rest.
      const body = { message: question.text, thread_id: this.threadId, stream: true, on_disconnect: 'detach' };
      return this.api.post('/chat', body);
    }
    const message = withFiles(question);
    const run = { assistant_id: await this.api.assistantId(), stream: true, on_disconnect: 'detach' };
    if (this.threadId) {
      return this.api.post(`/threads/${this.threadId}/runs`, { ...run, additional_messages: [message] });
    }
    return this.api.post('/threads/runs', { ...run, thread: { messages: [message] } });
  }

  private async follow(first: Response | null): Promise<Answer> {
    let response = first;
    for (let attempt = 0; ; attempt++) {
      const position = this.shown;
      try {
        response ??= await this.reopen();
        const answer = await this.read(response);
        // Only then does the thread hold what a stopped answer said.
        await this.cancelling;
        return answer;
      } catch (error) {
        if (!canRetry(error) || !this.runId) throw error instanceof BrokenStream ? this.lost() : error;
        if (this.shown !== position) attempt = 0;
        if (attempt >= RETRY_DELAYS_MS.length) throw this.lost();
        this.listener.onReconnect();
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAYS_MS[attempt]));
      }
      response = null;
    }
  }

  private async reopen(): Promise<Response> {
    if (!this.runId) throw new UnreadableRun();
    const opening = this.api.send(`/threads/${this.threadId}/runs/${this.runId}/events`);
    const response = await opening.catch((error: unknown) => {
      throw error instanceof ApiError && [400, 404].includes(error.status) ? new UnreadableRun() : error;
    });
    // From the run's first event on: a foreground run's events are told with other ids than its stream had.
    this.text = this.messageId = '';
    this.sources = [];
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
    else if (name === 'tool') this.listener.onTool(value);
    else if (name === 'annotation') this.sources.push(value);
    else if (name === 'done') this.end({ ...value, text: value.message, sources: value.annotations });
    else if (name === 'thread.message.delta') this.takeMessageDelta(value);
    else if (name.startsWith('thread.run.') && !name.startsWith('thread.run.step.')) this.takeRun(value);
  }

  private takeMessageDelta(message: { id: string; delta: { content: MessagePart[] } }): void {
    for (const part of message.delta.content) {
      const piece = part.text?.value ?? part.refusal ?? '';
      if (piece && this.messageId && this.messageId !== message.id) this.add('\n\n');
      if (piece) this.messageId = message.id;
      this.add(piece);
      for (const annotation of part.text?.annotations ?? []) this.sources.push(flat(annotation));
    }
  }

  private takeRun(run: RunObject): void {
    this.begin(run.thread_id, run.id);
    if (LIVE.has(run.status)) return;
    if (run.status === 'failed') throw new RunFailed(run.last_error?.message ?? this.texts.failed, run.last_error?.code);
    const waiting = run.required_action?.submit_tool_outputs.tool_calls ?? [];
    const calls = waiting.map(({ id, approval, function: called }) => ({ id, approval, ...called }));
    this.end({ text: this.text, status: run.status, sources: this.sources, usage: run.usage, tool_calls: calls });
  }

  /** An error event ends the stream, but not always the run. */
  private async takeError(error: { message: string; code: string | null }): Promise<void> {
    if (this.runId && (await this.isLive())) throw new BrokenStream();
    throw new RunFailed(error.message || this.texts.failed, error.code);
  }

  private async isLive(): Promise<boolean> {
    try {
      const run = await this.api.json<RunObject>(`/threads/${this.threadId}/runs/${this.runId}`);
      return LIVE.has(run.status) || run.status === 'completed';
    } catch (error) {
      return canRetry(error);
    }
  }

  private begin(threadId: string, runId: string): void {
    if (this.runId === runId && this.threadId === threadId) return;
    this.threadId = threadId;
    this.runId = runId;
    this.listener.onStart(threadId, runId);
    if (this.isStopped) this.cancel();
  }

  private add(piece: string): void {
    if (!piece) return;
    this.text += piece;
    if (this.text.length <= this.shown) return;
    this.shown = this.text.length;
    this.listener.onText(this.text, this.sources);
  }

  private end(answer: Answer): void {
    if (answer.text !== this.text && answer.text) this.listener.onText((this.text = answer.text), answer.sources);
    this.answer = { ...answer, text: this.text };
  }

  private cancel(): void {
    // A run that ended meanwhile answers 400, and so does one that only another replica could stop: its answer goes on.
    const path = `/threads/${this.threadId}/runs/${this.runId}/cancel`;
    this.cancelling = this.api.post(path, {}, { keepalive: true }).catch(() => undefined);
  }

  private lost(): ApiError {
    return new ApiError(this.texts.lost, 0);
  }
}

interface MessagePart {
  text?: { value?: string; annotations?: Annotation[] };
  refusal?: string;
}

interface Annotation {
  type: string;
  text?: string;
  file_path?: { file_id: string };
  file_citation?: { file_id: string };
  url_citation?: { url: string; title: string };
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

function withFiles(question: Question): unknown {
  const content: unknown[] = question.text ? [{ type: 'text', text: question.text }] : [];
  for (const id of question.images) content.push({ type: 'image_file', image_file: { file_id: id } });
  const attachments = question.documents.map((id) => ({ file_id: id, tools: [] }));
  return { role: 'user', content, attachments };
}

export function canRetry(error: unknown): boolean {
  return error instanceof BrokenStream || (error instanceof ApiError && (error.status === 0 || error.status >= 500));
}
