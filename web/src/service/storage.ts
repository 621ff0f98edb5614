// The browser's storage of a page, under a prefix.

/** Names whose value each tab has for itself; a new tab begins with the newest one. */
const OF_TAB = new Set(['thread']);

/** Names hold no colon. Where the browser forbids storage or has no room, values are kept for as long as the page lives. */
export class BrowserStorage {
  private readonly kept = new Map<string, string | null>();

  constructor(private readonly prefix: string) {}

  read(name: string): string | null {
    const kept = this.kept.get(name);
    if (kept !== undefined) return kept;
    try {
      const own = OF_TAB.has(name) ? sessionStorage.getItem(this.prefix + name) : null;
      // The empty text stands for nothing: in this tab there is none, whatever others have.
      return (own ?? localStorage.getItem(this.prefix + name)) || null;
    } catch {
      return null;
    }
  }

  write(name: string, value: string | null): void {
    if (name.includes(':')) return;
    try {
      if (OF_TAB.has(name)) sessionStorage.setItem(this.prefix + name, value ?? '');
      if (value === null) localStorage.removeItem(this.prefix + name);
      else localStorage.setItem(this.prefix + name, value);
      this.kept.delete(name);
    } catch {
      this.kept.set(name, value);
    }
  }

  /** All values by their names. */
  all(): Record<string, string> {
    const found: Record<string, string> = {};
    for (const name of this.names()) {
      const value = this.read(name);
      if (value !== null) found[name] = value;
    }
    return found;
  }

  /** Calls `changed` for each value that another tab writes; returns what ends that. */
  watch(changed: (name: string, value: string | null) => void): () => void {
    const listen = ({ key, newValue, storageArea }: StorageEvent) => {
      const name = this.nameOf(key ?? '');
      if (storageArea === localStorage && name && !OF_TAB.has(name)) changed(name, newValue);
    };
    addEventListener('storage', listen);
    return () => removeEventListener('storage', listen);
  }

  private names(): Set<string> {
    try {
      return new Set([...Object.keys(localStorage), ...Object.keys(sessionStorage)].map((key) => this.nameOf(key)).filter(Boolean));
    } catch {
      return new Set(this.kept.keys());
    }
  }

  /** With another colon a key belongs to a longer prefix than this one. */
  private nameOf(key: string): string {
    const name = key.startsWith(this.prefix) ? key.slice(this.prefix.length) : '';
    return name.includes(':') ? '' : name;
  }
}
