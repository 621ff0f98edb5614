// What the launcher says by itself. The chat in the frame has words of its own.

import type { Launcher } from '../words/languages/en';

export type Texts = Launcher;

/** The words of each language by its tag, put here by the build. */
declare const LAUNCHER: Record<string, Texts>;

/** The words in the first of `wanted`, else of the browser's languages, that is known and among `allowed`. */
export function textsFor(wanted: string | null, allowed: string[] | null): Texts {
  const isAllowed = (name: string) => Object.hasOwn(LAUNCHER, name) && (allowed?.includes(name) ?? true);
  const names = [wanted ?? '', ...navigator.languages, ...(allowed ?? [])].map((tag) => tag.split('-')[0]!.toLowerCase());
  return LAUNCHER[names.find(isAllowed) ?? 'en']!;
}
