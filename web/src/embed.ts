// The widget: <script type="module" src="https://HOST/embed.js" data-token-url="/…"></script> puts a chat bubble on
// a page; <soloist-chat> puts the chat where it stands. The chat itself is fetched when somebody wants it.

import { Bubble } from './bubble';

const ATTRIBUTES = ['token-url', 'api-url', 'heading', 'greeting', 'suggestions', 'lang', 'theme', 'storage-key'];

const script = [...document.querySelectorAll<HTMLScriptElement>('script[type=module][src]')].find(
  (element) => element.src === import.meta.url,
);
const settings: Record<string, string> = { 'api-url': new URL('api/v1', import.meta.url).href };
for (const name of ATTRIBUTES) {
  const value = script?.getAttribute(`data-${name}`);
  if (value) settings[name] = value;
}

/** Gives inline chats what their script tag says, where they do not say it themselves. */
function complete(chat: Element): void {
  for (const [name, value] of Object.entries(settings)) if (!chat.hasAttribute(name)) chat.setAttribute(name, value);
}

async function start(): Promise<void> {
  const inline = document.querySelectorAll('soloist-chat');
  inline.forEach(complete);
  if (inline.length) await import('./element');
  else if (script && script.dataset.bubble !== 'off') document.body.append(new Bubble(settings, script.dataset.position));
  watch();
}

/** Chats that a framework adds later load the element too. */
function watch(): void {
  const observer = new MutationObserver((records) => {
    for (const node of records.flatMap((record) => [...record.addedNodes])) {
      if (!(node instanceof Element)) continue;
      const chats = node.localName === 'soloist-chat' ? [node] : [...node.querySelectorAll('soloist-chat')];
      chats.forEach(complete);
      if (chats.length) void import('./element');
    }
  });
  observer.observe(document.documentElement, { childList: true, subtree: true });
}

void start();
