/** A fast model sends more pieces than a screen can show. */
const SHOW_EVERY_MS = 40;

/** Hands changes on together, a few times a second. */
export function throttled<T extends object>(show: (change: T) => void): (change: T) => void {
  let waiting: T | null = null;
  return (change) => {
    if (!waiting) {
      setTimeout(() => {
        const due = waiting;
        waiting = null;
        if (due) show(due);
      }, SHOW_EVERY_MS);
    }
    waiting = { ...waiting, ...change } as T;
  };
}
