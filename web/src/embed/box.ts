// The box in which the frame stands, and what covers it until the chat can be seen.

import { html } from './dom';
import type { Texts } from './texts';

export class Box {
  readonly #status = html('p', { role: 'status' });
  readonly #cover = html('div', { class: 'cover' }, this.#status);
  readonly element = html('div', { class: 'frame' }, this.#cover);

  constructor(...controls: Node[]) {
    this.#cover.append(...controls);
  }

  /** Without a frame: it is on its way. */
  load(texts: Texts, frame: HTMLIFrameElement | null): void {
    this.#cover.hidden = false;
    this.#cover.classList.add('loading');
    this.#status.textContent = texts.loading;
    if (frame) this.element.prepend(frame);
  }

  reveal(): void {
    this.#cover.hidden = true;
  }

  fail(texts: Texts): void {
    this.#cover.hidden = false;
    this.#cover.classList.remove('loading');
    this.#status.textContent = texts.blocked;
  }

  paint(isDark: boolean): void {
    this.element.classList.toggle('dark', isDark);
  }
}
