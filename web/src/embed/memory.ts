// What the host's storage remembers for the chat: a frame of another site has no lasting storage of its own.

/**
 * `base` is the API's address, `name` what tells this widget's conversations from others'. Where the browser forbids
 * storage nothing is remembered.
 */
export class Memory {
  readonly #prefix: string;

  constructor(base: string, name: string) {
    this.#prefix = `soloist:${base}:${name}:`;
  }

  read(): Record<string, string> {
    const found: Record<string, string> = {};
    try {
      for (const key of Object.keys(localStorage)) {
        const name = key.startsWith(this.#prefix) ? key.slice(this.#prefix.length) : '';
        // With another colon it belongs to a longer name than this widget's.
        if (name && !name.includes(':')) found[name] = localStorage.getItem(key) ?? '';
      }
    } catch {
      return {};
    }
    return found;
  }

  /** Names hold no colon. */
  write(name: string, value: string | null): void {
    if (name.includes(':')) return;
    try {
      if (value === null) localStorage.removeItem(this.#prefix + name);
      else localStorage.setItem(this.#prefix + name, value);
    } catch {
      return;
    }
  }
}
