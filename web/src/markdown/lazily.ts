// What is loaded once, when an answer first needs it.

import { useEffect, useState } from 'react';

/** Returns a hook that gives what `load` brings: undefined before that, and for good where it cannot be had. */
export function lazily<T>(load: () => Promise<T>): (isNeeded: boolean) => T | undefined {
  let loading: Promise<T> | undefined;
  let loaded: T | undefined;
  return (isNeeded) => {
    const [value, setValue] = useState<T | undefined>(() => loaded);
    useEffect(() => {
      if (!isNeeded || value !== undefined) return;
      loading ??= load();
      loading.then(
        (found) => setValue(() => (loaded = found)),
        () => (loading = undefined),
      );
    }, [isNeeded, value]);
    return value;
  };
}
