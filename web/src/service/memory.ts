// What the browser keeps between two visits, in the page's own storage or in that of the host page.

import type { Usage } from './wire';

export interface Store {
  read(name: string): string | null;
  write(name: string, value: string | null): void;
}

/** A file that was uploaded for a question. */
export interface Upload {
  id: string;
  name: string | null;
  isImage: boolean;
}

/** A thread's last turn, where the thread itself does not tell of it: it is under way, or has ended without an answer. */
export interface KeptTurn {
  /** Null until the service has named the run. */
  runId: string | null;
  question: string;
  files: Upload[];
  /** The thread's last message before the turn; null for the first turn. */
  after: string | null;
  /** Whether the question is on its way; one that is not goes back into the box. */
  isAsked: boolean;
  /** How it ended: the error's code or `stopped`, and what had been answered. */
  ended: { code: string | null; text: string } | null;
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
const MAX_TURNS = 20;
const MAX_ANSWERS = 200;
const MAX_TITLE_CHARS = 80;
/** Where the turn of a conversation is kept that has no thread yet. */
const NEW = 'new';

export class Memory {
  constructor(private readonly store: Store) {}

  get threadId(): string | null {
    return this.store.read('thread');
  }

  set threadId(id: string | null) {
    this.store.write('thread', id);
  }

  turn(threadId: string | null): KeptTurn | null {
    return this.list<[string, KeptTurn]>('turns').find(([id]) => id === (threadId ?? NEW))?.[1] ?? null;
  }

  keepTurn(threadId: string | null, turn: KeptTurn | null): void {
    const others = this.list<[string, KeptTurn]>('turns').filter(([id]) => id !== (threadId ?? NEW));
    this.keep('turns', turn ? [...others, [threadId ?? NEW, turn]].slice(-MAX_TURNS) : others);
  }

  /** What a thread does not tell of its answers, by the ids of their messages. */
  get answers(): Map<string, AnswerFacts> {
    return new Map(this.list<[string, AnswerFacts]>('answers'));
  }

  keepAnswer(messageId: string, facts: AnswerFacts): void {
    this.keep('answers', [...this.answers.set(messageId, facts)].slice(-MAX_ANSWERS));
  }

  get threads(): KnownThread[] {
    return this.list('threads');
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

  /** Forgets a conversation. */
  forget(id: string): void {
    this.keepTurn(id, null);
    this.keep('threads', this.threads.filter((thread) => thread.id !== id));
    if (this.threadId === id) this.threadId = null;
  }

  private list<T>(name: string): T[] {
    try {
      const found: unknown = JSON.parse(this.store.read(name) ?? '[]');
      return Array.isArray(found) ? (found as T[]) : [];
    } catch {
      return [];
    }
  }

  private keep(name: string, list: unknown[]): void {
    this.store.write(name, list.length ? JSON.stringify(list) : null);
  }
}

/** The storage of the host page, read once, and written and watched through the launcher. */
export class HostStore implements Store {
  private readonly values: Map<string, string>;

  constructor(
    values: Record<string, string>,
    private readonly send: (name: string, value: string | null) => void,
  ) {
    this.values = new Map(Object.entries(values));
  }

  read(name: string): string | null {
    return this.values.get(name) ?? null;
  }

  write(name: string, value: string | null): void {
    this.take(name, value);
    this.send(name, value);
  }

  /** Takes over what another tab has written. */
  take(name: string, value: string | null): void {
    if (value === null) this.values.delete(name);
    else this.values.set(name, value);
  }
}
