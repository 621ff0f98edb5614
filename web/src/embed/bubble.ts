// <soloist-bubble>: the round button in the corner, and the panel that it opens.

import { Box } from './box';
import css from './bubble.css';
import { adopt, html, icon, ICONS } from './dom';
import frameCss from './frame.css';
import { type Texts, textsFor } from './texts';
import type { Actions, View } from './view';
import { Widget } from './widget';

const NAME = 'soloist-bubble';
const MOST_COUNTED = 99;
/** On small screens the panel takes all of it; bubble.css asks the same. */
const isSmall = matchMedia('(max-width: 480px), (max-height: 480px)');

class BubbleView implements View {
  readonly isClosable = true;

  #texts: Texts = textsFor(null, null);
  #unread = 0;
  readonly #button = html('button', { type: 'button', 'aria-expanded': 'false', 'aria-controls': 'panel' }, icon(ICONS.chat));
  readonly #badge = html('span', { class: 'badge', hidden: '', 'aria-hidden': 'true' });
  readonly #shut = html('button', { type: 'button' }, icon(ICONS.close));
  readonly box = new Box(this.#shut);
  readonly #panel = this.box.element;

  constructor(
    private readonly element: HTMLElement,
    root: ShadowRoot,
    private readonly actions: Actions,
  ) {
    adopt(root, frameCss, css);
    this.#panel.id = 'panel';
    this.#panel.role = 'dialog';
    this.#panel.hidden = true;
    root.append(this.#panel, this.#button, this.#badge);
    this.#button.addEventListener('click', () => (this.isOpen ? actions.close() : actions.open()));
    this.#shut.addEventListener('click', actions.close);
  }

  get isOpen(): boolean {
    return !this.#panel.hidden && !this.element.hidden;
  }

  open(): boolean {
    if (this.isOpen) return false;
    for (const other of neighbours(this.element)) if (other !== this.element) (other as Widget).close();
    this.element.hidden = false;
    this.#show(true);
    return true;
  }

  close(): boolean {
    const wasOpen = this.isOpen;
    if (wasOpen) this.#show(false);
    return wasOpen;
  }

  attach(texts: Texts): void {
    this.#texts = texts;
    this.#shut.setAttribute('aria-label', texts.close);
    this.#label();
    document.addEventListener('keydown', this.#pressed);
    for (const type of ['resize', 'scroll']) visualViewport?.addEventListener(type, this.#fit);
    isSmall.addEventListener('change', this.#fit);
    arrange();
  }

  detach(): void {
    document.removeEventListener('keydown', this.#pressed);
    for (const type of ['resize', 'scroll']) visualViewport?.removeEventListener(type, this.#fit);
    isSmall.removeEventListener('change', this.#fit);
    arrange();
  }

  name(heading: string): void {
    this.#panel.setAttribute('aria-label', heading);
  }

  count(unread: number): void {
    this.#unread = unread;
    this.#badge.hidden = unread === 0;
    this.#badge.textContent = unread > MOST_COUNTED ? `${MOST_COUNTED}+` : String(unread);
    this.#label();
  }

  focus(): void {
    this.#button.focus();
  }

  #show(isOpen: boolean): void {
    this.#panel.hidden = !isOpen;
    // On a small screen it covers the other bubbles.
    this.element.style.setProperty('--soloist-open', isOpen ? '1' : '0');
    this.#button.setAttribute('aria-expanded', String(isOpen));
    this.#button.replaceChildren(icon(isOpen ? ICONS.down : ICONS.chat));
    this.#label();
    this.#fit();
  }

  #label(): void {
    const { open, close, unread } = this.#texts;
    const count = this.#unread ? `, ${unread.replace('{count}', String(this.#unread))}` : '';
    this.#button.setAttribute('aria-label', (this.#panel.hidden ? open : close) + count);
  }

  readonly #pressed = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && !event.defaultPrevented && !event.isComposing && this.isOpen) this.actions.close();
  };

  /** A keyboard on the screen covers the page without resizing it; what is left is the visual viewport. */
  readonly #fit = (): void => {
    const seen = visualViewport;
    // Somebody who zooms in wants to see a part, not a smaller chat.
    const follows = this.isOpen && isSmall.matches && seen && Math.abs(seen.scale - 1) < 0.01;
    const { style } = this.#panel;
    style.top = follows ? `${seen.offsetTop}px` : '';
    style.height = follows ? `${seen.height}px` : '';
  };
}

/** The bubbles in the same corner, in the page's order. */
function neighbours(bubble: Element): Element[] {
  const isLeft = (element: Element) => element.getAttribute('position') === 'left';
  return [...document.querySelectorAll(NAME)].filter((other) => isLeft(other) === isLeft(bubble));
}

/** Bubbles in one corner stand side by side. */
function arrange(): void {
  for (const bubble of document.querySelectorAll<HTMLElement>(NAME)) {
    bubble.style.setProperty('--soloist-slot', String(neighbours(bubble).indexOf(bubble)));
  }
}

class Bubble extends Widget {
  constructor() {
    super((element, root, actions) => new BubbleView(element, root, actions));
  }
}

/** A second version of this file on a page uses what the first one has defined. */
export function defineBubble(): void {
  if (!customElements.get(NAME)) customElements.define(NAME, Bubble);
}
