// Light and dark, and the colours that a page or its operator chose.

import type { Theme } from '../protocol';

const KEY = 'soloist:theme';
const system = matchMedia('(prefers-color-scheme: dark)');
let chosen: Theme = 'auto';

/** Applies a theme, and again when the system's changes. A person's own choice on the page comes before it. */
export function startTheme(theme: Theme, mayBeKept: boolean): void {
  chosen = (mayBeKept && (kept() as Theme | null)) || theme;
  system.addEventListener('change', apply);
  apply();
}

export function changeTheme(theme: Theme): void {
  chosen = theme;
  apply();
}

/** Sets and remembers what a person chose. */
export function setTheme(theme: Theme): void {
  changeTheme(theme);
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    return;
  }
}

export function isDark(): boolean {
  return chosen === 'dark' || (chosen === 'auto' && system.matches);
}

/** Sets `--soloist-NAME` for each name; what is not named any more goes back to ours. */
export function setColours(colours: Record<string, string>): void {
  const { style } = document.documentElement;
  for (const name of [...style].filter((property) => property.startsWith('--soloist-'))) style.removeProperty(name);
  for (const [name, value] of Object.entries(colours)) style.setProperty(`--soloist-${name}`, value);
}

function apply(): void {
  document.documentElement.dataset.scheme = isDark() ? 'dark' : 'light';
}

function kept(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
