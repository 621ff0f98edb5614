// <script type="module" src="https://HOST/embed.js" data-token-url="/…"></script> puts a chat bubble on a page;
// <soloist-chat> puts the chat where it stands. The chat itself is the service's page, in a frame.

import { defineBubble } from './bubble';
import { defineChat } from './chat';
import { apiBase } from './settings';
import { complete, readTags, type Tag } from './tags';

const BUBBLES = 'soloist-bubble';
const CHATS = 'soloist-chat';
const WATCHED = `${CHATS}, ${BUBBLES}, script[src]`;

let body: HTMLElement | null = null;
const bubbles = new Set<Element>();
const seen = new WeakSet<Element>();

/** Puts right what the page, or a navigation that has changed it, needs. */
function look(): void {
  const tags = readTags();
  const isNew = body !== document.body;
  body = document.body;
  document.querySelectorAll(`${CHATS}, ${BUBBLES}`).forEach(complete);
  // A bubble that the page itself takes out stays away until the next page.
  if (isNew) for (const bubble of bubbles) if (!isThere(bubble)) place(bubble);
  for (const { script, settings, wantsBubble } of tags) {
    const bubble = bubbleOf(settings);
    if ((isNew || !seen.has(script)) && wantsBubble && !hasInline(bubble) && !isThere(bubble)) place(bubble);
    seen.add(script);
  }
}

/** Beside the body, so that it stays where a navigation replaces the body. */
function place(bubble: Element): void {
  bubbles.add(bubble);
  document.documentElement.append(bubble);
}

function bubbleOf(settings: Tag['settings']): Element {
  const bubble = document.createElement(BUBBLES);
  for (const [name, value] of Object.entries(settings)) bubble.setAttribute(name, value);
  return bubble;
}

/** An inline chat stands for the bubble of its service. */
function hasInline(bubble: Element): boolean {
  return [...document.querySelectorAll(CHATS)].some((chat) => serviceOf(chat) === serviceOf(bubble));
}

/** Another version of this file may have put it there. */
function isThere(bubble: Element): boolean {
  const memory = bubble.getAttribute('storage-key');
  const isSame = (other: Element) => serviceOf(other) === serviceOf(bubble) && other.getAttribute('storage-key') === memory;
  return [...document.querySelectorAll(BUBBLES)].some(isSame);
}

function serviceOf(widget: Element): string {
  return apiBase(widget.getAttribute('api-url'));
}

function brings(node: Node): boolean {
  return node instanceof Element && (node.matches(WATCHED) || node.querySelector(WATCHED) !== null);
}

look();
defineChat();
defineBubble();
new MutationObserver((records) => {
  if (body !== document.body || records.some(({ addedNodes }) => [...addedNodes].some(brings))) look();
}).observe(document, { childList: true, subtree: true });
