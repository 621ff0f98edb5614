// The script tags that brought this file, and what they say.

import { apiBase, ATTRIBUTES } from './settings';

export interface Tag {
  script: HTMLScriptElement;
  /** By the names of an element's attributes; always with an `api-url`. */
  settings: Record<string, string>;
  wantsBubble: boolean;
}

let first: Tag['settings'] = { 'api-url': apiBase(null) };

/** A module runs once, however many tags name it; those that a navigation brings later count too. */
export function readTags(): Tag[] {
  const scripts = [...document.querySelectorAll<HTMLScriptElement>('script[type=module][src]')];
  const found = scripts.filter((script) => script.src === import.meta.url).map(read);
  first = found[0]?.settings ?? first;
  return found;
}

function read(script: HTMLScriptElement): Tag {
  const settings: Record<string, string> = {};
  for (const name of [...ATTRIBUTES, 'position']) {
    const value = script.getAttribute(`data-${name}`);
    if (value) settings[name] = value;
  }
  settings['api-url'] = apiBase(settings['api-url']);
  return { script, settings, wantsBubble: script.dataset.bubble !== 'off' };
}

/**
 * Gives a widget what the script tag says where it does not say it itself; one of another service gets nothing, and
 * a bubble that names its service is complete.
 */
export function complete(widget: Element): void {
  const own = widget.getAttribute('api-url');
  if (own && (widget.localName !== 'soloist-chat' || apiBase(own) !== first['api-url'])) return;
  for (const [name, value] of Object.entries(first)) if (!widget.hasAttribute(name)) widget.setAttribute(name, value);
}
