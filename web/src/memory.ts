// What the browser keeps between two visits: which thread, and the turn that was under way.

export interface Pending {
  /** Null until the service has named the run. */
  runId: string | null;
  question: string;
  /** How many answers the thread held before. */
  answersBefore: number;
}

export class Memory {
  constructor(private readonly key: string) {}

  get threadId(): string | null {
    return this.read('thread');
  }

  set threadId(id: string | null) {
    this.write('thread', id);
  }

  get pending(): Pending | null {
    const text = this.read('pending');
    return text ? (JSON.parse(text) as Pending) : null;
  }

  set pending(pending: Pending | null) {
    this.write('pending', pending && JSON.stringify(pending));
  }

  /** What the conversation has used so far; NaN once a turn did not tell. */
  get tokens(): number {
    return Number(this.read('tokens') ?? 0);
  }

  set tokens(total: number) {
    this.write('tokens', total === 0 ? null : String(total));
  }

  forget(): void {
    this.threadId = null;
    this.tokens = 0;
    this.pending = null;
  }

  // A browser may forbid storage (private modes, frames of other sites); then nothing is remembered.
  private read(name: string): string | null {
    try {
      return localStorage.getItem(`${this.key}:${name}`);
    } catch {
      return null;
    }
  }

  private write(name: string, value: string | null): void {
    try {
      if (value === null) localStorage.removeItem(`${this.key}:${name}`);
      else localStorage.setItem(`${this.key}:${name}`, value);
    } catch {
      return;
    }
  }
}
