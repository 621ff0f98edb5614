// A page with one answer, for tests: `show(props)` renders it; `lab` has the functions below it.

import { createRoot, type Root } from 'react-dom/client';
import { flushSync } from 'react-dom';
import type { AnswerProps } from '../../../web/src/markdown/Answer';
import { blocks } from '../../../web/src/markdown/blocks';
import { parse } from '../../../web/src/markdown/parse';

const words = {
  copyCode: 'Copy code', copied: 'Copied', code: 'Code', table: 'Table', formula: 'Formula', picture: 'Picture',
  source: 'Source {number}: {name}',
};
const place = document.querySelector('main')!;
const { Answer } = await import('../../../web/src/markdown/Answer');
let root: Root | undefined;
const chosen: number[] = [];

/** Shows an answer, at once; `anew` forgets what was shown before. */
function show(props: Partial<AnswerProps> & { text: string }, anew = true): void {
  if (anew) {
    root?.unmount();
    root = undefined;
  }
  root ??= createRoot(place);
  flushSync(() => root?.render(<Answer words={words} onSource={(number) => chosen.push(number)} {...props} />));
}

/** The tree of a text parsed in pieces, or as a whole, without places in the text. */
function tree(pieces: string[]): string {
  const children = pieces.flatMap((piece) => parse(piece)?.children ?? []);
  return JSON.stringify(children, (key, value: unknown) => (key === 'position' ? undefined : value));
}

/** Returns those texts whose blocks make something else than the whole does. */
function differing(texts: string[]): string[] {
  return texts.filter((text) => tree(blocks(text)) !== tree([text]));
}

/** Shows a text that grows; returns how many characters were parsed, had each changed block been parsed each time. */
function grown(text: string, pieces: number): number {
  let parsed = 0;
  let before: string[] = [];
  for (let piece = 1; piece <= pieces; piece++) {
    const now = blocks(text.slice(0, Math.round((text.length * piece) / pieces)));
    for (const [index, block] of now.entries()) if (block !== before[index]) parsed += block.length;
    before = now;
  }
  return parsed;
}

Object.assign(window, { show, lab: { chosen, differing, grown, place } });
document.documentElement.dataset.ready = '';
