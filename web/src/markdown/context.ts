// What all parts of an answer share.

import { createContext } from 'react';
import type { NumberedSource } from '../service/readable';
import type { Words } from '../words';

export type MarkdownWords = Pick<Words, 'copyCode' | 'copied' | 'code' | 'table' | 'formula' | 'picture' | 'source'>;

export interface Shared {
  words: MarkdownWords;
  sources: readonly NumberedSource[];
  onSource: (number: number) => void;
  /** False for an answer with more formulas than could be drawn soon. */
  drawsFormulas: boolean;
}

export const SharedContext = createContext<Shared | null>(null);
