// What the conversation shows, for those who draw it.

import type { ShownMessage } from './shown';

export interface State {
  messages: ShownMessage[];
  isRunning: boolean;
  isLoading: boolean;
  /** Why the conversation could not be loaded. */
  loadError: unknown;
  /** Why what was asked for is not shown; until something else is asked. */
  problem: unknown;
  /** A passing notice, by its name among the words. */
  notice: 'reconnecting' | null;
  threadId: string | null;
  /** A question that goes back into the box. */
  draft: string;
  /** Counts changes of the list of conversations. */
  listed: number;
}

export const NOTHING: State = {
  messages: [],
  isRunning: false,
  isLoading: false,
  loadError: null,
  problem: null,
  notice: null,
  threadId: null,
  draft: '',
  listed: 0,
};

/** Holds a state, and tells who listens of each change. */
export class StateStore {
  state: State = NOTHING;
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  message(key: string): ShownMessage | undefined {
    return this.state.messages.find((one) => one.key === key);
  }

  get lastQuestion(): ShownMessage | undefined {
    return this.state.messages.findLast(({ role }) => role === 'user');
  }

  protected set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }

  protected push(message: ShownMessage): void {
    this.set({ messages: [...this.state.messages, message] });
  }

  protected change(key: string, change: Partial<ShownMessage>): void {
    this.set({ messages: this.state.messages.map((one) => (one.key === key ? { ...one, ...change } : one)) });
  }
}
