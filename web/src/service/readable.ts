// An answer's text as the page shows it: its lists of sources and links to generated files taken out, as these
// stand below it, and small marks `[1]` where a source backs it up.

import type { Source } from './wire';

/** A source that stands below an answer, under a number. */
export interface NumberedSource extends Source {
  number: number;
}

const IMAGE_NAME = /\.(png|jpe?g|gif|webp)$/i;
const OLD_MARK = /【[^【】†]*†[^【】]*】/g;
/** A code block; one that is still being written goes on to the end. */
const FENCED = '^[ \\t>]*(?<fence>~{3,}|`{3,}(?![^\\n]*`))[^\\n]*$[^]*?(?:^[ \\t>]*\\k<fence>[`~]*[ \\t]*$|$(?![^]))';
/** Code within a paragraph, or backticks that nothing closes. */
const SPAN = '(?<ticks>`+)(?!`)(?:(?:[^`\\n]|\\n(?![ \\t]*\\n)|`+(?!`))*?\\k<ticks>(?!`))?';
/** A line of the list of sources that `CITATIONS=markdown` or `footnotes` writes at an answer's end. */
const LISTED = String.raw`^(?:- \[|\[\^)(?<number>\d+)\]:? (?<label>.+)$\n?`;
// Bounded, as a search that begins at each bracket and runs to the end would take seconds for a long answer.
const FILE = String.raw`(?<image>!?)\[(?<label>(?:[^[\]\\]|\\.){0,400})\]\((?:sandbox:[^)]{0,800}|(?<base>[^)\s]{0,800})\/files\/(?<id>[\w-]{1,400})\/content)\)`;
const CODE = new RegExp(`${FENCED}|${SPAN}`, 'gm');
const LISTED_SOURCE = besides(FENCED, LISTED);
const FOOTNOTE = besides(`${FENCED}|${SPAN}`, String.raw`\[\^(?<number>\d+)\]`);
const LISTED_FILE = besides(`${FENCED}|${SPAN}`, `^- ${FILE}$\\n?`);
const FILE_LINK = besides(`${FENCED}|${SPAN}`, FILE);
/** What the service calls itself where it was not told its address. */
const RELATIVE_BASE = '/api/v1';

type Groups = Record<string, string | undefined>;

/** A pattern that takes up code first, so that nothing else is found in it. */
function besides(code: string, pattern: string): RegExp {
  return new RegExp(`(?<code>${code})|${pattern}`, 'gm');
}

function replaced(text: string, pattern: RegExp, replace: (found: Groups) => string | null): string {
  return text.replace(pattern, (match: string, ...rest: unknown[]) => {
    const found = rest.at(-1) as Groups;
    return (found.code === undefined ? replace(found) : null) ?? match;
  });
}

/** Takes out what the page shows in its own way: links to generated files, lists of sources, old marks. */
export function readable(text: string, sources: Source[], base: string): string {
  const numbers = listedNumbers(text, sources);
  const cited = new Set(numbers.values());
  const ids = new Set(sources.map((source) => source.file_id));
  // The service may know itself by another address than this page; the ids of an answer's files are its own.
  const isOwn = (found: Groups) =>
    found.base === undefined || [RELATIVE_BASE, base, new URL(base).pathname].includes(found.base) || ids.has(found.id);
  let shown = marked(text, sources);
  shown = replaced(shown, LISTED_SOURCE, ({ label }) => (numbers.has(label ?? '') ? '' : null));
  shown = replaced(shown, FOOTNOTE, ({ number }) => (cited.has(number ?? '') ? `[${number}]` : null));
  shown = replaced(shown, LISTED_FILE, (found) => (isOwn(found) ? '' : null));
  shown = replaced(shown, FILE_LINK, (found) => (isOwn(found) ? (found.image ? '' : `**${found.label}**`) : null));
  return shown.trimEnd();
}

/** The sources that back the answer up, each once; the numbers are those of the answer's own list if it has one. */
export function numbered(text: string, sources: Source[]): NumberedSource[] {
  const cited = unique(sources.filter(({ type }) => type !== 'file_path'));
  const numbers = listedNumbers(text, cited);
  return cited.map((source, index) => ({ ...source, number: Number(numbers.get(listedAs(source)) ?? index + 1) }));
}

/** The files that the assistant made, each once. */
export function madeFiles(sources: Source[]): Source[] {
  return unique(sources.filter(({ type, file_id: id }) => type === 'file_path' && id));
}

export function isPicture(name: string | undefined): boolean {
  return IMAGE_NAME.test(name ?? '');
}

/** Puts `[n]` where the n-th source's mark is, or where the source says that it backs the text up. */
function marked(text: string, sources: Source[]): string {
  const cited = sources.filter(({ type }) => type === 'file_citation');
  const numbers = new Map(numbered(text, sources).map((source) => [keyOf(source), source.number]));
  const marks = text.match(OLD_MARK)?.length ?? 0;
  if (!marks) return listedNumbers(text, sources).size ? text : inserted(text, cited, numbers);
  let next = 0;
  return text.replace(OLD_MARK, () => {
    // Where not each mark has its source, none can be told.
    const number = marks === cited.length && numbers.get(keyOf(cited[next++] ?? { type: '' }));
    return number ? `[${number}]` : '';
  });
}

/** Inserts marks at the places that the sources name, behind the word there and never into code. */
function inserted(text: string, cited: Source[], numbers: Map<string, number>): string {
  const places = new Map<number, Set<number>>();
  for (const source of cited) {
    const at = source.index === undefined ? -1 : endOfWord(text, unitsOf(text, source.index));
    if (at < 0 || at > text.length) continue;
    places.set(at, (places.get(at) ?? new Set()).add(numbers.get(keyOf(source)) ?? 0));
  }
  if (!places.size) return text;
  const code = [...text.matchAll(CODE)].map(({ index, 0: found }) => [index, index + found.length] as const);
  let shown = text;
  for (const [at, found] of [...places].sort(([one], [other]) => other - one)) {
    if (code.some(([from, to]) => from < at && at < to)) continue;
    shown = shown.slice(0, at) + [...found].map((number) => `[${number}]`).join('') + shown.slice(at);
  }
  return shown;
}

function endOfWord(text: string, at: number): number {
  if (at > text.length) return -1;
  const rest = text.slice(at).search(/[\s\p{P}]|$/u);
  return at + rest;
}

/** Where the n-th character of a text begins, as JavaScript counts. */
function unitsOf(text: string, characters: number): number {
  let units = 0;
  for (const character of text) {
    if (characters-- <= 0) return units;
    units += character.length;
  }
  return characters > 0 ? text.length + 1 : units;
}

function unique(sources: Source[]): Source[] {
  const seen = new Set<string>();
  return sources.filter((source) => seen.size < seen.add(keyOf(source)).size);
}

function keyOf(source: Source): string {
  return source.url ?? source.file_id ?? source.filename ?? '';
}

/** Under which number an answer's own list has which of its sources. */
function listedNumbers(text: string, sources: Source[]): Map<string, string> {
  const labels = new Set(sources.map(listedAs));
  const found = [...text.matchAll(LISTED_SOURCE)].map(({ groups }) => [groups?.label ?? '', groups?.number ?? ''] as const);
  return new Map(found.filter(([label]) => labels.has(label)));
}

function listedAs(source: Source): string {
  const label = nameOf(source).split(/\s+/).join(' ').trim().replace(/[[\]\\]/g, '\\$&');
  return source.url ? `[${label}](${source.url})` : label;
}

export function nameOf(source: Source): string {
  return source.title || source.filename || source.url || source.file_id || '';
}
