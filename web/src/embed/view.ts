// What a widget looks like around its frame: a bubble with a panel, or a box in the page.

import type { Texts } from './texts';

export interface View {
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
  /** The frame is on its way (null), or there, if not yet to be seen. */
  load(frame: HTMLIFrameElement | null): void;
  /** The frame can be seen. */
  reveal(): void;
  /** The frame does not come. */
  fail(): void;
  count(unread: number): void;
  paint(isDark: boolean): void;
  /** Puts the focus where it belongs while no frame has it. */
  focus(): void;
}

/** What a view asks of its element. */
export interface Actions {
  open(): void;
  close(): void;
}

export type MakeView = (element: HTMLElement, root: ShadowRoot, actions: Actions) => View;
