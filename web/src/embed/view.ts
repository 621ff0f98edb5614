// What a widget looks like around its frame: a bubble with a panel, or a box in the page.

import type { Box } from './box';
import type { Texts } from './texts';

export interface View {
  readonly box: Box;
  /** Whether a person can see the chat. */
  readonly isOpen: boolean;
  /** Whether the chat offers a person to close it. */
  readonly isClosable: boolean;
  /** Returns whether it was closed. */
  open(): boolean;
  /** Returns whether it was open. */
  close(): boolean;
  /** The element has been put into a page. */
  attach(texts: Texts): void;
  detach(): void;
  /** What to call the chat. */
  name(heading: string): void;
  count(unread: number): void;
  /** Puts the focus where it belongs while no frame has it. */
  focus(): void;
}

/** What a view asks of its element. */
export interface Actions {
  open(): void;
  close(): void;
}

export type MakeView = (element: HTMLElement, root: ShadowRoot, actions: Actions) => View;
