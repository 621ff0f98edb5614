// Parts of the app that are loaded after the box to write in can be used.

import { type ComponentType, lazy } from 'react';
import { useWords } from './context';

/** About a minute and a half: a network comes back, a file that an update has replaced does not. */
const DELAYS_MS = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];

/** A part that is tried again while the network is away, so that the app around it goes on. */
export function part<P>(load: () => Promise<{ default: ComponentType<P> }>) {
  return lazy(async () => {
    for (const delay of DELAYS_MS) {
      try {
        return await load();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
    return { default: Missing as ComponentType<P> };
  });
}

function Missing() {
  return <p className="failure">{useWords().reload}</p>;
}
