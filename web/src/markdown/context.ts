// What all parts of an answer share.

import { createContext } from 'react';

/** A source that stands below the answer; the app's own type has more. */
export interface NumberedSource {
  number: number;
  title?: string | null;
  filename?: string | null;
  url?: string | null;
}

export interface MarkdownWords {
  copyCode: string;
  copied: string;
  code: string;
  table: string;
  formula: string;
  picture: string;
  /** With places for `{number}` and `{name}`. */
  source: string;
}

export interface Shared {
  words: MarkdownWords;
  sources: readonly NumberedSource[];
  onSource: (number: number) => void;
  /** False for an answer with more formulas than could be drawn soon. */
  drawsFormulas: boolean;
}

export const SharedContext = createContext<Shared | null>(null);
