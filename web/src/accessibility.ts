// What deep-chat leaves out for people who use a keyboard or a screen reader.

import type { DeepChat } from 'deep-chat';
import type { Texts } from './texts';

const REMOVE = '.remove-file-attachment-button';

/** Names deep-chat's parts, also those that it draws anew, and makes its buttons answer to the space bar. */
export function enhance(chat: DeepChat, texts: Texts, onDrawn: () => void): void {
  const root = chat.shadowRoot;
  if (!root) return;
  const nameParts = () => {
    nameLog(root.querySelector('#messages'), texts);
    nameButtons(root, texts);
    onDrawn();
  };
  nameParts();
  new MutationObserver(nameParts).observe(root, { subtree: true, childList: true, attributes: true, attributeFilter: ['class'] });
  root.addEventListener('keydown', (event) => {
    const { key, target } = event as KeyboardEvent;
    if (!(target instanceof HTMLElement) || target.getAttribute('role') !== 'button') return;
    if (key !== ' ' && !(key === 'Enter' && target.matches(REMOVE))) return;
    event.preventDefault();
    target.click();
  });
}

function nameLog(log: Element | null, texts: Texts): void {
  if (!log || log.hasAttribute('role')) return;
  log.setAttribute('role', 'log');
  // Answers are announced once they are whole; a reader would stumble over every piece.
  log.setAttribute('aria-live', 'off');
  log.setAttribute('aria-label', texts.messages);
  log.setAttribute('tabindex', '0');
}

function nameButtons(root: ShadowRoot, texts: Texts): void {
  for (const button of root.querySelectorAll<HTMLElement>(`${REMOVE}:not([role])`)) {
    button.setAttribute('role', 'button');
    button.tabIndex = 0;
  }
  for (const button of root.querySelectorAll<HTMLElement>('.input-button, [role=button]')) name(button, buttonName(button, texts));
  for (const image of root.querySelectorAll('img:not([alt])')) image.setAttribute('alt', texts.file);
  root.querySelector('#text-input')?.setAttribute('aria-multiline', 'true');
}

function buttonName(button: HTMLElement, texts: Texts): string {
  if (button.querySelector('rect') || button.classList.contains('loading-button')) return texts.stop;
  if (button.closest('#scroll-button, .scroll-button')) return texts.toBottom;
  if (button.matches(REMOVE)) return texts.removeFile;
  return button.querySelector('path[d^="m21 11"]') ? texts.attach : texts.send;
}

function name(button: HTMLElement, label: string): void {
  if (button.getAttribute('aria-label') === label) return;
  button.setAttribute('aria-label', label);
  button.setAttribute('title', label);
}
