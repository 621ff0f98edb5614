// Style sheets that lie beside the scripts.

/** Their file names, put here by the build. */
declare const SHEETS: { markdown: string; katex: string };

/** Adds a style sheet to the page; resolves once it applies, and also where it cannot be had. */
export function stylesheet(name: keyof typeof SHEETS): Promise<void> {
  return new Promise((resolve) => {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = new URL(SHEETS[name], import.meta.url).href;
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
}
