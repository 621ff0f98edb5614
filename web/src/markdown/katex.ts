// Draws formulas; loaded with its style sheet when an answer first has one.

import katex from 'katex';
import { stylesheet } from './sheets';

/** Their MathML has a style attribute, which the page's policy stops; what KaTeX sets by script is not stopped. */
const STYLED = /\\(?:pmb|fcolorbox)/;
/** Macros of a formula's own could make it any size. */
const DEFINING = /\\(?:def|[egx]def|let|futurelet|(?:new|renew|provide)command)(?![a-zA-Z])/;
/** How long formulas are drawn before the page gets its turn. */
const SLICE_MS = 12;

const waiting = new Set<() => void>();
await stylesheet('katex');

/** Draws a formula in its turn; null stands for one that cannot be drawn. Returns what cancels that. */
export function drawSoon(formula: string, isDisplay: boolean, done: (drawn: HTMLElement | null) => void): () => void {
  const task = () => done(draw(formula, isDisplay));
  if (!waiting.size) setTimeout(work);
  waiting.add(task);
  return () => waiting.delete(task);
}

function work(): void {
  const end = performance.now() + SLICE_MS;
  for (const task of waiting) {
    task();
    waiting.delete(task);
    if (performance.now() > end) break;
  }
  if (waiting.size) setTimeout(work);
}

function draw(formula: string, isDisplay: boolean): HTMLElement | null {
  if (DEFINING.test(formula)) return null;
  const place = document.createElement('span');
  try {
    katex.render(formula, place, {
      displayMode: isDisplay,
      output: STYLED.test(formula) ? 'html' : 'htmlAndMathml',
      strict: 'ignore',
      trust: false,
      maxSize: 20,
      maxExpand: 1_000,
      errorColor: 'currentColor',
    });
    return place;
  } catch {
    return null;
  }
}
