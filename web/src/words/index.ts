// The words of the language that is asked for; each language is loaded when it is needed.

import { ApiError } from '../service/errors';
import { CODES } from './codes';
import type { Failures, Words } from './languages/en';

export type { Words } from './languages/en';

/** The files of the languages by their tags, put here by the build. */
declare const LANGUAGES: Record<string, string>;

export interface Language {
  tag: string;
  words: Words;
  failures: Failures;
}

/** Loads the first of the wanted tags that is spoken here and among those allowed, else the first allowed one. */
export async function loadLanguage(wanted: readonly string[], allowed: readonly string[] | null): Promise<Language> {
  const spoken = Object.keys(LANGUAGES).filter((tag) => !allowed?.length || allowed.includes(tag));
  const bases = wanted.map((tag) => tag.toLowerCase().split('-')[0] ?? '');
  const tag = bases.find((base) => spoken.includes(base)) ?? (spoken.includes('en') ? 'en' : (spoken[0] ?? 'en'));
  const url = new URL(LANGUAGES[tag] ?? '', import.meta.url).href;
  const { words, failures } = (await import(url)) as { words: Words; failures: Failures };
  return { tag, words, failures };
}

/** Puts values into `{name}` places; numbers are grouped as the browser's language does. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (place, name: string) => {
    const value = values[name];
    if (value === undefined) return place;
    return typeof value === 'number' ? value.toLocaleString() : value;
  });
}

/** The sentence for a failure. */
export function sentence(failures: Failures, error: unknown): string {
  if (!(error instanceof ApiError)) return failures.other;
  return failures[kindOf(error)];
}

function kindOf({ code, status }: ApiError): keyof Failures {
  const known = code ? CODES[code] : undefined;
  if (known) return known;
  if (status === 429) return 'busy';
  if (status === 404) return 'notFound';
  if (status === 413) return 'tooLong';
  if (status === 403) return 'forbidden';
  return status >= 400 && status < 500 ? 'request' : 'other';
}
