// What the attributes of a script tag or an element say, as the chat in the frame is told it.

import type { Settings, Theme } from '../protocol';

/** On a script tag they begin with `data-`. */
export const ATTRIBUTES = [
  'api-url',
  'token-url',
  'storage-key',
  'heading',
  'greeting',
  'suggestions',
  'lang',
  'languages',
  'theme',
  'logo',
  'avatar',
  'disclaimer',
  'uploads',
  'on-disconnect',
];

/** The custom properties `--soloist-NAME` that a page may set. */
const COLOURS = [
  'accent',
  'accent-text',
  'background',
  'surface',
  'input',
  'text',
  'muted',
  'border',
  'code',
  'link',
  'user',
  'user-text',
  'error',
  'error-text',
  'radius',
  'font',
  'font-size',
  'column',
];

const SWITCH: Record<string, boolean> = { on: true, off: false };

/** Settings that may change while the chat stands; others load it anew. */
export type Changeable = Pick<Settings, 'heading' | 'theme' | 'colours'>;

export function changeableOf(element: Element): Changeable {
  const style = getComputedStyle(element);
  const colours: Record<string, string> = {};
  for (const name of COLOURS) {
    const value = style.getPropertyValue(`--soloist-${name}`).trim();
    if (value) colours[name] = value;
  }
  return { heading: element.getAttribute('heading') || null, theme: themeOf(element), colours };
}

/** All but what only the widget knows. */
export function settingsOf(element: Element): Omit<Settings, 'logo' | 'avatar' | 'memory' | 'isClosable' | 'needsToken'> {
  const read = (name: string) => element.getAttribute(name) || null;
  return {
    ...changeableOf(element),
    greeting: read('greeting'),
    suggestions: list(read('suggestions'), '|'),
    lang: langOf(element),
    disclaimer: read('disclaimer'),
    uploads: SWITCH[read('uploads') ?? ''] ?? null,
    languages: languagesOf(element),
    onDisconnect: oneOf(read('on-disconnect'), ['finish', 'detach']),
  };
}

export function themeOf(element: Element): Theme | null {
  return oneOf(element.getAttribute('theme'), ['light', 'dark', 'auto']);
}

/** The frame cannot see the page's own language. */
export function langOf(element: Element): string | null {
  return element.getAttribute('lang') || document.documentElement.lang || null;
}

export function languagesOf(element: Element): string[] | null {
  return list(element.getAttribute('languages'), ',');
}

/** The API's address, without a slash at its end; beside embed.js unless an attribute says otherwise. */
export function apiBase(said: string | null | undefined): string {
  const own = new URL('api/v1', import.meta.url);
  const url = said && URL.canParse(said, document.baseURI) ? new URL(said, document.baseURI) : null;
  if (said && !url?.protocol.startsWith('http')) console.error(`Soloist: api-url is not an address: ${said}`);
  return (url?.protocol.startsWith('http') ? url : own).href.replace(/\/+$/, '');
}

/** The address of the chat's page. */
export function framePage(base: string): URL {
  return base.endsWith('/api/v1') ? new URL('../embed', base) : new URL('embed', import.meta.url);
}

function oneOf<Value extends string>(text: string | null, values: Value[]): Value | null {
  return values.find((value) => value === text) ?? null;
}

function list(text: string | null, separator: string): string[] | null {
  const items = (text ?? '').split(separator).map((item) => item.trim());
  return items.some(Boolean) ? items.filter(Boolean) : null;
}
