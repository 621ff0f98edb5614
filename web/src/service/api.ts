// Calls to the service; failures are `ApiError`.

import { ApiError, unanswered } from './errors';
import type { Tokens } from './tokens';
import type { AssistantObject, Message, Page, RunObject, RunStep, Thread } from './wire';

/** A page shows the newest of these; older ones are read when somebody asks for them. */
const PAGE_LIMIT = 100;
const MAX_PAGES = 50;

export class Api {
  private readonly names = new Map<string, Promise<string>>();
  private knownAssistant: string | undefined;

  constructor(
    /** Address of the API without a slash at its end, such as `https://example.com/api/v1`. */
    readonly base: string,
    private readonly tokens: Tokens,
    private readonly headers: Record<string, string> = {},
  ) {}

  /** Sends a request; after a 401 once more with a new token, as the first was not begun. */
  async send(path: string, init: RequestInit = {}): Promise<Response> {
    let response = await this.attempt(path, init, false);
    if (response.status === 401) response = await this.attempt(path, init, true);
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.send(path, init)).json()) as T;
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    const headers = { 'content-type': 'application/json' };
    return this.send(path, { ...init, method: 'POST', headers, body: JSON.stringify(body) });
  }

  /** The id of the one assistant, asked for once. */
  async assistantId(): Promise<string | undefined> {
    return (this.knownAssistant ??= (await this.assistant())?.id);
  }

  /** The one assistant, with what its operator shows of it. */
  async assistant(): Promise<AssistantObject | null> {
    return (await this.json<Page<AssistantObject>>('/assistants')).data[0] ?? null;
  }

  /** All messages of a thread, oldest first. */
  async messages(threadId: string): Promise<Message[]> {
    const all: Message[] = [];
    let after = '';
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const query = `?order=asc&limit=${PAGE_LIMIT}${after && `&after=${after}`}`;
      const page = await this.json<Page<Message>>(`/threads/${threadId}/messages${query}`);
      all.push(...page.data);
      if (!page.has_more || !page.last_id) break;
      after = page.last_id;
    }
    return all;
  }

  /** The newest messages of a thread, newest first. */
  async newest(threadId: string, limit: number): Promise<Message[]> {
    return (await this.json<Page<Message>>(`/threads/${threadId}/messages?order=desc&limit=${limit}`)).data;
  }

  /** The caller's threads, last active first; `query` are words of the title. */
  threads(query: string, after: string | null): Promise<Page<Thread>> {
    const words = query ? `&query=${encodeURIComponent(query)}` : '';
    return this.json(`/threads?limit=30${words}${after ? `&after=${after}` : ''}`);
  }

  rename(threadId: string, title: string): Promise<Response> {
    return this.post(`/threads/${threadId}`, { title });
  }

  remove(threadId: string): Promise<Response> {
    return this.send(`/threads/${threadId}`, { method: 'DELETE' });
  }

  /** A thread as Markdown. */
  async markdown(threadId: string): Promise<Blob> {
    return (await this.send(`/threads/${threadId}/export?format=markdown`)).blob();
  }

  /** A run; null where it cannot be read. */
  run(threadId: string, runId: string): Promise<RunObject | null> {
    return this.json<RunObject>(`/threads/${threadId}/runs/${runId}`).catch(() => null);
  }

  /** The steps of a run, with the passages that its searches found. */
  async steps(threadId: string, runId: string): Promise<RunStep[]> {
    const include = encodeURIComponent('step_details.tool_calls[*].file_search.results[*].content');
    return (await this.json<Page<RunStep>>(`/threads/${threadId}/runs/${runId}/steps?limit=100&include[]=${include}`)).data;
  }

  feedback(body: { thread_id: string; run_id?: string; message_id?: string; value: string; comment?: string }): Promise<Response> {
    return this.post('/feedback', body);
  }

  /** Uploads a file for a question; returns its id. `onProgress` gets a share between 0 and 1. */
  async upload(file: File, onProgress: (share: number) => void, signal: AbortSignal): Promise<string> {
    const form = new FormData();
    form.set('purpose', file.type.startsWith('image/') ? 'vision' : 'user_data');
    form.set('file', file, file.name);
    for (const isRenewal of [false, true]) {
      const answer = await upload(`${this.base}/files`, form, await this.allHeaders({}, isRenewal), onProgress, signal);
      if (answer.ok) {
        const { id } = (await answer.json()) as { id: string };
        this.names.set(id, Promise.resolve(file.name));
        return id;
      }
      if (answer.status !== 401 || isRenewal) throw await errorOf(answer);
    }
    throw new ApiError(401, 'no_session');
  }

  /** The name of a file; many messages may cite the same one. */
  fileName(fileId: string): Promise<string> {
    const name = this.names.get(fileId) ?? this.json<{ filename: string }>(`/files/${fileId}`).then((file) => file.filename);
    this.names.set(fileId, name);
    // One failure must not name the file for as long as the page lives.
    name.catch(() => this.names.delete(fileId));
    return name;
  }

  async fileContent(fileId: string): Promise<Blob> {
    return (await this.send(`/files/${fileId}/content`)).blob();
  }

  private async attempt(path: string, init: RequestInit, isRenewal: boolean): Promise<Response> {
    const headers = await this.allHeaders(init.headers as Record<string, string>, isRenewal);
    try {
      return await fetch(this.base + path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw unanswered();
    }
  }

  private async allHeaders(own: Record<string, string>, isRenewal: boolean): Promise<Record<string, string>> {
    const token = await this.tokens.token(isRenewal);
    return { ...own, ...this.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => null)) as { error?: { message?: string; code?: string } } | null;
  const { code = null, message = '' } = body?.error ?? {};
  return new ApiError(response.status, response.status === 401 ? 'no_session' : code, message);
}

/** Sends a form; `fetch` cannot tell how much of it has gone up. */
function upload(
  url: string,
  form: FormData,
  headers: Record<string, string>,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onload = () => resolve(new Response(request.responseText, { status: request.status }));
    request.onerror = () => reject(unanswered());
    request.onabort = () => reject(new DOMException('', 'AbortError'));
    signal.addEventListener('abort', () => request.abort());
    request.send(form);
  });
}
