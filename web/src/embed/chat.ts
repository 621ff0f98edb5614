// <soloist-chat>: the chat where it stands in a page.

import { Box } from './box';
import css from './chat.css';
import { adopt } from './dom';
import frameCss from './frame.css';
import type { View } from './view';
import { Widget } from './widget';

const NAME = 'soloist-chat';

/** Open is what is not `hidden`. */
class InlineView implements View {
  readonly box = new Box();

  constructor(
    private readonly element: HTMLElement,
    root: ShadowRoot,
  ) {
    adopt(root, frameCss, css);
    root.append(this.box.element);
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  get isClosable(): boolean {
    return this.element.hasAttribute('closable');
  }

  open(): boolean {
    return this.#hide(false);
  }

  close(): boolean {
    return this.#hide(true);
  }

  attach(): void {}

  detach(): void {}

  name(): void {}

  count(): void {}

  focus(): void {}

  #hide(hidden: boolean): boolean {
    const changes = this.element.hidden !== hidden;
    this.element.hidden = hidden;
    return changes;
  }
}

class Chat extends Widget {
  constructor() {
    super((element, root) => new InlineView(element, root));
  }
}

/** A second version of this file on a page uses what the first one has defined. */
export function defineChat(): void {
  if (!customElements.get(NAME)) customElements.define(NAME, Chat);
}
