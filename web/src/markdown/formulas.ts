// Where formulas begin and end in a text: `\( … \)`, `\[ … \]` and `$$ … $$`. A single `$` is a price.

const CLOSERS: Record<string, string> = { '\\(': '\\)', '\\[': '\\]', $$: '$$' };
/** Characters of one formula. */
const MOST_CHARACTERS = 2_500;
const BLANK_LINE = /\n[ \t>]*\n/y;
const LINE_END = /[ \t]*(?:\n|$)/y;

/** Returns the offset after the formula that opens at `start`, or -1 if none does or nothing closes it. */
export function formulaEnd(text: string, start: number, mayHoldBlankLines = false): number {
  const opener = text.slice(start, start + 2);
  const closer = CLOSERS[opener];
  if (!closer || (opener === '$$' && (text[start + 2] === '$' || text[start - 1] === '$'))) return -1;
  const limit = Math.min(text.length, start + MOST_CHARACTERS);
  for (let at = start + 2; at < limit; at++) {
    if (text.startsWith(closer, at)) return at > start + 2 ? at + 2 : -1;
    if (text[at] === '\\') at++;
    else if (text[at] === '\n' && !mayHoldBlankLines && matchesAt(BLANK_LINE, text, at)) return -1;
  }
  return -1;
}

/** The same for a formula that stands on lines of its own; one at the margin may hold blank lines. */
export function displayEnd(text: string, start: number, isAtMargin: boolean): number {
  if (text.startsWith('\\(', start)) return -1;
  const end = formulaEnd(text, start, isAtMargin);
  return end > 0 && matchesAt(LINE_END, text, end) ? end : -1;
}

function matchesAt(pattern: RegExp, text: string, at: number): boolean {
  pattern.lastIndex = at;
  return pattern.test(text);
}
