// Where the focus goes when what held it is gone.

/** There, a focused box opens a keyboard over half of the screen. */
const TOUCH = matchMedia('(pointer: coarse)');

export function focusComposer(): void {
  if (!TOUCH.matches) document.querySelector<HTMLElement>('.composer textarea')?.focus();
}

/** Puts a lost focus into the box to write in. */
export function keepFocus(): void {
  if (document.activeElement === document.body) focusComposer();
}
