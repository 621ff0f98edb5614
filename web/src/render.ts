// Messages of the service as messages of deep-chat.

import { type Api, type Message, messageOf } from './api';
import { ICONS } from './icons';
import { fill, type Texts } from './texts';
import { flat, type Source, type Usage, type Usages } from './turn';

export interface Shown {
  role?: string;
  text?: string;
  html?: string;
  files?: { src?: string; name?: string; type?: 'image' | 'any' }[];
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

/** Takes out what the page shows in its own way below: links to generated files, lists of sources, old marks. */
export function readable(text: string, sources: Source[], base: string): string {
  const numbers = listedNumbers(text, sources);
  const cited = new Set(numbers.values());
  const ids = new Set(sources.map((source) => source.file_id));
  // The service may know itself by another address than this page; the ids of an answer's files are its own.
  const isOwn = (found: Groups) =>
    found.base === undefined || [RELATIVE_BASE, base, new URL(base).pathname].includes(found.base) || ids.has(found.id);
  let shown = text.replace(OLD_MARK, '');
  shown = replaced(shown, LISTED_SOURCE, ({ label }) => (numbers.has(label ?? '') ? '' : null));
  shown = replaced(shown, FOOTNOTE, ({ number }) => (cited.has(number ?? '') ? `[${number}]` : null));
  shown = replaced(shown, LISTED_FILE, (found) => (isOwn(found) ? '' : null));
  shown = replaced(shown, FILE_LINK, (found) => (isOwn(found) ? (found.image ? '' : `**${found.label}**`) : null));
  return shown.trimEnd();
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

function nameOf(source: Source): string {
  return source.title || source.filename || source.url || source.file_id || '';
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** What stands below an answer: where it comes from, what it cost, a way to copy it. */
export function metaHtml(answer: string, sources: Source[], usage: Usage | null, note: string, texts: Texts): string {
  const cited = unique(sources.filter((source) => source.type !== 'file_path'));
  const files = unique(sources.filter((source) => source.type === 'file_path'));
  const numbers = listedNumbers(answer, cited);
  const chips = cited.map((source) => sourceHtml(source, numbers.get(listedAs(source))));
  const parts = [list(texts.sources, chips), list(texts.files, files.map((file) => fileHtml(file, texts)))];
  if (note) parts.push(`<span>${escapeHtml(note)}</span>`);
  if (answer) parts.push(`<button class="plain" data-copy="${escapeHtml(answer)}">${ICONS.copy}${texts.copy}</button>`);
  if (usage) {
    const { total_tokens: total, prompt_tokens: prompt, completion_tokens: completion } = usage;
    parts.push(`<span class="tokens">${fill(texts.tokens, { total, prompt, completion })}</span>`);
  }
  const html = parts.join('');
  return html && `<div class="meta">${html}</div>`;
}

function list(label: string, items: string[]): string {
  if (!items.length) return '';
  const entries = items.map((item) => `<li>${item}</li>`).join('');
  return `<ul class="sources"><li class="label">${label}</li>${entries}</ul>`;
}

function sourceHtml(source: Source, number: string | undefined): string {
  const name = (number ? `${number}. ` : '') + nameOf(source);
  if (!source.url || !/^https?:/i.test(source.url)) return `<span class="chip">${escapeHtml(name)}</span>`;
  return `<a class="chip" target="_blank" rel="noopener noreferrer" href="${escapeHtml(source.url)}">${escapeHtml(name)}</a>`;
}

function fileHtml(source: Source, texts: Texts): string {
  const name = source.filename ?? texts.file;
  const label = escapeHtml(fill(texts.download, { name }));
  const data = `data-file="${escapeHtml(source.file_id ?? '')}" data-name="${escapeHtml(name)}"`;
  return `<button class="chip" ${data} aria-label="${label}">↓ ${escapeHtml(name)}</button>`;
}

function unique(sources: Source[]): Source[] {
  const seen = new Set<string>();
  return sources.filter((source) => {
    const key = source.url ?? source.file_id ?? source.filename ?? '';
    return seen.size < seen.add(key).size;
  });
}

/** The pictures among an answer's files, fetched with the token that an <img> could not send. */
export async function pictures(api: Api, sources: Source[]): Promise<Shown[]> {
  const shown: Shown[] = [];
  for (const { file_id: id, filename } of unique(sources.filter((source) => source.type === 'file_path'))) {
    if (!id || !filename || !IMAGE_NAME.test(filename)) continue;
    const image = await picture(api, id, filename, 'ai');
    if (image) shown.push(image);
  }
  return shown;
}

async function picture(api: Api, id: string, name: string, role: string): Promise<Shown | null> {
  try {
    const blob = await api.fileContent(id);
    if (!blob.type.startsWith('image/')) return null;
    return { role, files: [{ src: URL.createObjectURL(blob), name, type: 'image' }] };
  } catch {
    // An expired or refused file keeps its download button, which says why.
    return null;
  }
}

/** A thread's messages, oldest first, as the history that deep-chat shows. */
export async function historyOf(api: Api, messages: Message[], usages: Usages, texts: Texts): Promise<Shown[]> {
  const groups = messages.map((message, index) => {
    // A run's tokens stand below the last of its messages.
    const isLast = message.run_id !== messages[index + 1]?.run_id;
    return shownMessage(api, message, (isLast && usages.get(message.run_id ?? '')) || null, texts);
  });
  return (await Promise.all(groups)).flat();
}

async function shownMessage(api: Api, message: Message, usage: Usage | null, texts: Texts): Promise<Shown[]> {
  const role = message.role === 'assistant' ? 'ai' : 'user';
  const text = message.content.map((part) => part.text?.value ?? '').join('\n\n').trim();
  const images: Shown[] = [];
  for (const part of message.content) {
    const image = part.image_file && (await picture(api, part.image_file.file_id, texts.file, role));
    if (image) images.push(image);
  }
  if (role === 'user') {
    const said = text ? [{ role, text }] : [];
    return [...images, ...said, ...(await attached(api, message, texts))];
  }
  const sources = unique(message.content.flatMap((part) => (part.text?.annotations ?? []).map(flat)));
  const named = await Promise.all(sources.map((source) => withName(api, source)));
  const cited = await pictures(api, named);
  // An answer's own parts are the same pictures as the files that it cites.
  const shown: Shown[] = cited.length ? [] : images;
  if (text) shown.push({ role, text: readable(text, named, api.base) });
  shown.push(...cited);
  const note = message.status === 'incomplete' ? texts.unfinished : '';
  const html = metaHtml(text, named, usage, note, texts);
  return html ? [...shown, { role, html }] : shown;
}

async function withName(api: Api, source: Source): Promise<Source> {
  if (source.filename || !source.file_id) return source;
  return { ...source, filename: await api.fileName(source.file_id).catch(() => undefined) };
}

async function attached(api: Api, message: Message, texts: Texts): Promise<Shown[]> {
  const ids = (message.attachments ?? []).map((attachment) => attachment.file_id);
  const names = await Promise.all(ids.map((id) => api.fileName(id).catch(() => texts.file)));
  return names.length ? [attachedNames(names)] : [];
}

function attachedNames(names: string[]): Shown {
  const chips = names.map((name) => `<span class="chip">${escapeHtml(name)}</span>`).join('');
  return { role: 'user', html: `<div class="meta attached">${chips}</div>` };
}

/** Saves a file through the browser; returns the sentence that says why not. */
export async function download(api: Api, id: string, name: string): Promise<string | null> {
  try {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await api.fileContent(id));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
