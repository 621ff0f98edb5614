// Parts of the app that are loaded after the box to write in can be used.

import { type ComponentType, lazy } from 'react';

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 30_000;

/** A part that is tried again for as long as the network is away, so that the app around it goes on. */
export function part<P>(load: () => Promise<{ default: ComponentType<P> }>) {
  return lazy(async () => {
    for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LAST_DELAY_MS)) {
      try {
        return await load();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  });
}
