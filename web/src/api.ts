// Calls to the service: where it is, the token that opens it, and failures as sentences.

import { fill, type Texts } from './texts';
import type { Usage, Usages } from './turn';

export interface Session {
  client_secret: string;
  expires_at: number;
}

export interface Attachment {
  file_id: string;
  tools: { type: string }[];
}

export interface ContentPart {
  type: string;
  text?: { value: string; annotations: MessageAnnotation[] };
  image_file?: { file_id: string };
}

export interface MessageAnnotation {
  type: string;
  file_path?: { file_id: string };
  file_citation?: { file_id: string };
  text?: string;
  filename?: string;
}

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  status: 'in_progress' | 'incomplete' | 'completed';
  content: ContentPart[];
  attachments: Attachment[] | null;
  run_id: string | null;
}

/** A failure whose message may be shown to the person. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

const REFRESH_BEFORE_MS = 30_000;

/** Fetches session tokens from the page's own backend, and a new one before the old one ends. */
export class TokenSource {
  private session: Session | null = null;
  private pending: Promise<Session> | null = null;

  constructor(
    private readonly url: string | null,
    private readonly texts: Texts,
  ) {}

  get isNeeded(): boolean {
    return this.url !== null;
  }

  forget(): void {
    this.session = null;
  }

  async token(): Promise<string | null> {
    if (this.url === null) return null;
    // A token that lives shorter than the margin is still good for most of its life.
    if (this.session && Date.now() < this.session.expires_at * 1000 - this.margin()) return this.session.client_secret;
    this.pending ??= this.fetch(this.url).finally(() => (this.pending = null));
    this.session = await this.pending;
    this.lifetime = this.session.expires_at * 1000 - Date.now();
    return this.session.client_secret;
  }

  private lifetime = Infinity;

  private margin(): number {
    return Math.min(REFRESH_BEFORE_MS, this.lifetime / 4);
  }

  private async fetch(url: string): Promise<Session> {
    let response: Response;
    try {
      response = await fetch(url, { method: 'POST', credentials: 'include', headers: { accept: 'application/json' } });
    } catch {
      throw new ApiError(this.texts.offline, 0);
    }
    const session = (await response.json().catch(() => null)) as Session | null;
    if (!response.ok || !session?.client_secret) throw new ApiError(this.texts.noSession, response.status || 401);
    return session;
  }
}

export class Api {
  private assistant: string | null = null;
  private readonly names = new Map<string, Promise<string>>();

  constructor(
    readonly base: string,
    private readonly tokens: TokenSource,
    private readonly texts: Texts,
  ) {}

  /** Sends a request; an expired token is replaced and the request sent once more, for it was not begun. */
  async send(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await this.attempt(path, init);
    if (response.status !== 401 || !this.tokens.isNeeded) return this.checked(response);
    this.tokens.forget();
    return this.checked(await this.attempt(path, init));
  }

  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.send(path, init)).json()) as T;
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string>), 'content-type': 'application/json' };
    return this.send(path, { ...init, method: 'POST', headers, body: JSON.stringify(body) });
  }

  /** The id of the one assistant, asked for once. */
  async assistantId(): Promise<string> {
    this.assistant ??= (await this.json<{ data: { id: string }[] }>('/assistants')).data[0]?.id ?? '';
    return this.assistant;
  }

  /** All messages of a thread, oldest first. */
  async messages(threadId: string): Promise<Message[]> {
    const all: Message[] = [];
    let after = '';
    for (;;) {
      const query = `?order=asc&limit=100${after && `&after=${after}`}`;
      const page = await this.json<{ data: Message[]; has_more: boolean; last_id: string }>(
        `/threads/${threadId}/messages${query}`,
      );
      all.push(...page.data);
      if (!page.has_more) return all;
      after = page.last_id;
    }
  }

  /** Uploads a file for the assistant to read; returns its id. */
  async upload(file: File): Promise<string> {
    const form = new FormData();
    form.set('purpose', file.type.startsWith('image/') ? 'vision' : 'user_data');
    form.set('file', file, file.name);
    try {
      return (await this.json<{ id: string }>('/files', { method: 'POST', body: form })).id;
    } catch (error) {
      throw new ApiError(fill(this.texts.uploadFailed, { name: file.name, reason: messageOf(error) }), 0);
    }
  }

  /** What the listed runs of a thread used, which foreground turns are not; nothing where that cannot be read. */
  async usages(threadId: string): Promise<Usages> {
    const page = await this.json<{ data: { id: string; usage: Usage | null }[] }>(`/threads/${threadId}/runs`).catch(() => null);
    return new Map((page?.data ?? []).flatMap(({ id, usage }) => (usage ? [[id, usage] as const] : [])));
  }

  /** What a run used; null where that cannot be read. */
  async usage(threadId: string, runId: string): Promise<Usage | null> {
    return (await this.json<{ usage: Usage | null }>(`/threads/${threadId}/runs/${runId}`).catch(() => null))?.usage ?? null;
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

  private async attempt(path: string, init: RequestInit): Promise<Response> {
    const token = await this.tokens.token();
    const headers = new Headers(init.headers);
    if (token) headers.set('authorization', `Bearer ${token}`);
    try {
      return await fetch(this.base + path, { ...init, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      throw new ApiError(this.texts.offline, 0);
    }
  }

  private async checked(response: Response): Promise<Response> {
    if (response.ok) return response;
    const body = (await response.json().catch(() => null)) as { error?: { message?: string; code?: string } } | null;
    if (response.status === 401) throw new ApiError(this.texts.noSession, 401, body?.error?.code);
    if (response.status === 429) throw new ApiError(this.texts.busy, 429, body?.error?.code);
    throw new ApiError(body?.error?.message ?? this.texts.failed, response.status, body?.error?.code ?? null);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
