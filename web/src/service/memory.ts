// What the browser keeps between two visits, in the page's own storage or in that of the host page.

import type { Usage } from './wire';

export interface Store {
  read(key: string): string | null;
  write(key: string, value: string | null): void;
}

/** The turn under way. */
export interface Pending {
  threadId: string | null;
  /** Null until the service has named the run. */
  runId: string | null;
  question: string;
  /** Names of the question's files. */
  files: string[];
  /** The thread's last message before the turn; null for the first turn. */
  after: string | null;
  /** False until the question is on its way: till then, the thread's last message may have to be looked up. */
  isAsked: boolean;
}

/** A turn that failed: what the thread itself does not tell. */
export interface FailedTurn {
  threadId: string | null;
  after: string | null;
  question: string;
  files: string[];
  /** What had been answered. */
  text: string;
  code: string | null;
}

/** Of which run an answer is, how that ended, and what it used. */
export interface AnswerFacts {
  runId: string | null;
  status: string;
  usage: Usage | null;
}

/** A conversation of this browser, where the service lists none. */
export interface KnownThread {
  id: string;
  title: string;
  /** Unix time in seconds. */
  updated_at: number;
}

const MAX_THREADS = 100;
const MAX_ANSWERS = 200;
const MAX_TITLE_CHARS = 80;

export class Memory {
  constructor(private readonly store: Store) {}

  get threadId(): string | null {
    return this.store.read('thread');
  }

  set threadId(id: string | null) {
    this.store.write('thread', id);
  }

  get pending(): Pending | null {
    return this.object<Pending>('pending');
  }

  set pending(pending: Pending | null) {
    this.keep('pending', pending);
  }

  get failed(): FailedTurn | null {
    return this.object<FailedTurn>('failed');
  }

  set failed(turn: FailedTurn | null) {
    this.keep('failed', turn);
  }

  /** What the conversation has used so far; NaN once a turn did not tell. */
  get tokens(): number {
    return Number(this.store.read('tokens') ?? 0);
  }

  set tokens(total: number) {
    this.store.write('tokens', total === 0 ? null : String(total));
  }

  /** What a thread does not tell of its answers, by the ids of their messages. */
  get answers(): Map<string, AnswerFacts> {
    const found = this.object<[string, AnswerFacts][]>('answers');
    return new Map(Array.isArray(found) ? found : []);
  }

  keepAnswer(messageId: string, facts: AnswerFacts): void {
    this.keep('answers', [...this.answers.set(messageId, facts)].slice(-MAX_ANSWERS));
  }

  get threads(): KnownThread[] {
    const found = this.object<KnownThread[]>('threads');
    return Array.isArray(found) ? found : [];
  }

  /** Puts a conversation at the head of the list; its first question is its title until somebody gives another. */
  touch(id: string, question: string): void {
    const before = this.threads.find((thread) => thread.id === id);
    const title = before?.title ?? question.replace(/\s+/g, ' ').trim().slice(0, MAX_TITLE_CHARS);
    const thread = { id, title, updated_at: Math.floor(Date.now() / 1000) };
    this.keep('threads', [thread, ...this.threads.filter((other) => other.id !== id)].slice(0, MAX_THREADS));
  }

  rename(id: string, title: string): void {
    this.keep('threads', this.threads.map((thread) => (thread.id === id ? { ...thread, title } : thread)));
  }

  private drop(id: string): void {
    this.keep('threads', this.threads.filter((thread) => thread.id !== id));
  }

  /** Goes to another conversation, or to a new one. */
  open(id: string | null): void {
    this.threadId = id;
    this.tokens = id ? NaN : 0;
  }

  /** Forgets a conversation. */
  forget(id: string | null): void {
    if (this.pending?.threadId === id) this.pending = null;
    if (this.failed?.threadId === id) this.failed = null;
    if (id) this.drop(id);
    if (this.threadId === id) this.open(null);
  }

  private object<T>(key: string): T | null {
    try {
      return JSON.parse(this.store.read(key) ?? 'null') as T | null;
    } catch {
      return null;
    }
  }

  private keep(key: string, value: unknown): void {
    this.store.write(key, value === null ? null : JSON.stringify(value));
  }
}

/** The storage of the page; where a browser forbids it, nothing is remembered. */
export class LocalStore implements Store {
  constructor(private readonly prefix: string) {}

  read(key: string): string | null {
    try {
      return localStorage.getItem(this.prefix + key);
    } catch {
      return null;
    }
  }

  write(key: string, value: string | null): void {
    try {
      if (value === null) localStorage.removeItem(this.prefix + key);
      else localStorage.setItem(this.prefix + key, value);
    } catch {
      return;
    }
  }
}

/** The storage of the host page, read once and written through the launcher. */
export class HostStore implements Store {
  private readonly values: Map<string, string>;

  constructor(
    values: Record<string, string>,
    private readonly send: (key: string, value: string | null) => void,
  ) {
    this.values = new Map(Object.entries(values));
  }

  read(key: string): string | null {
    return this.values.get(key) ?? null;
  }

  write(key: string, value: string | null): void {
    if (value === null) this.values.delete(key);
    else this.values.set(key, value);
    this.send(key, value);
  }
}
