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

  /** The frame is there, if not yet to be seen; without one it is on its way. */
  load(texts: Texts, frame: HTMLIFrameElement | null): void {
    this.#cover.hidden = false;
    this.#cover.classList.add('loading');
    this.#status.textContent = texts.loading;
    if (frame) this.element.prepend(frame);
  }

  /** The frame can be seen. */
  reveal(): void {
    this.#cover.hidden = true;
  }

  /** The frame does not come. */
  fail(texts: Texts): void {
    this.#cover.hidden = false;
    this.#cover.classList.remove('loading');
    this.#status.textContent = texts.blocked;
  }

  paint(isDark: boolean): void {
    this.element.classList.toggle('dark', isDark);
  }
}
