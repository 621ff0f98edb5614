// Cuts a text into blocks that can be parsed one by one, with the same result as the whole. What is closed stays
// the same string while an answer is written, so that only its last block is parsed again.

import { displayEnd } from './formulas';

/** Definitions of references and footnotes, which mean something for the whole text. */
const DEFINITION = /^[ \t>*+\-\d.)]*\[(?:[^[\]\\]|\\.){1,999}\]:/m;
const FENCE = /^(?<prefix>(?: |(?:[*+-]|\d{1,9}[.)]) )*)(?<fence>`{3,}(?=[^`\n]*$)|~{3,})/;
const LIST_ITEM = /^[ \t]*(?:[*+-]|\d{1,9}[.)])(?:[ \t]|$)/;
const DEEP = /^(?: {4}| {0,3}\t)/;
const BLANK = /^[ \t]*$/;

/** Returns the blocks of a text, which together are the text. */
export function blocks(text: string): string[] {
  if (DEFINITION.test(text)) return [text];
  const starts = [0];
  /** In a list, or behind indented code, where an item may mean something else than at the beginning. */
  let isInList = false;
  let isAfterBlank = false;
  for (let at = 0; at < text.length; ) {
    const line = text.slice(at, lineEnd(text, at));
    const skipped = endOfVerbatim(text, at, line);
    if (skipped < 0) break;
    const isAtMargin = /^[^ \t]/.test(line);
    const isItem = LIST_ITEM.test(line);
    if (isAfterBlank && isAtMargin && !(isInList && isItem)) {
      starts.push(at);
      isInList = false;
    }
    isInList ||= isItem || DEEP.test(line);
    isAfterBlank = BLANK.test(line) || (isAtMargin && FENCE.test(line));
    at = skipped;
  }
  return starts.map((start, index) => text.slice(start, starts[index + 1]));
}

/** Whether a block is one closed block of code and nothing else. */
export function isCode(block: string): boolean {
  const line = block.slice(0, lineEnd(block, 0));
  const end = /^[`~]/.test(line) ? endOfVerbatim(block, 0, line) : 0;
  return end > line.length + 1 && !block.slice(end).trim();
}

/** Where the line, or the code or formula that it opens, ends; -1 if that cannot be told without parsing. */
function endOfVerbatim(text: string, at: number, line: string): number {
  const found = FENCE.exec(line)?.groups;
  const next = at + line.length + 1;
  if (found) return fenceEnd(text, next, found.prefix ?? '', found.fence ?? '');
  const indent = /^ */.exec(line)?.[0] ?? '';
  const formula = displayEnd(text, at + indent.length, indent === '');
  if (formula < 0) return next;
  const end = lineEnd(text, formula);
  const isWhole = text.slice(next, end).split('\n').every((other) => other.startsWith(indent));
  return isWhole ? end + 1 : -1;
}

function fenceEnd(text: string, from: number, prefix: string, fence: string): number {
  const closer = new RegExp(`^([ \\t]*)${fence.charAt(0)}{${fence.length},}[ \\t]*$`);
  for (let at = from; at < text.length; at = lineEnd(text, at) + 1) {
    const line = text.slice(at, lineEnd(text, at));
    const indent = closer.exec(line)?.[1];
    if (indent !== undefined) return indent.length === prefix.length ? lineEnd(text, at) + 1 : -1;
    if (!BLANK.test(line) && !line.startsWith(' '.repeat(prefix.length))) return -1;
  }
  return -1;
}

function lineEnd(text: string, at: number): number {
  const found = text.indexOf('\n', at);
  return found < 0 ? text.length : found;
}
