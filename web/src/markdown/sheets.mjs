// Part of the build: writes the style sheets that answers load by themselves, and KaTeX's fonts.
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const MARKDOWN = new URL('markdown.css', import.meta.url);
const KATEX = createRequire(import.meta.url).resolve('katex/dist/katex.min.css');
/** Every browser that runs these scripts knows woff2. */
const OLDER_FONTS = /,\s*url\([^)]+\.(?:woff|ttf)\)\s*format\("\w+"\)/g;
const FONT = /url\((fonts\/([\w-]+)\.woff2)\)/g;

/** Writes into a folder; returns the file names, which hold hashes of the contents, for the constant `SHEETS`. */
export async function writeSheets(folder) {
  return {
    markdown: await written(folder, 'markdown', 'css', await readFile(MARKDOWN)),
    katex: await written(folder, 'katex', 'css', await katexSheet(folder)),
  };
}

async function katexSheet(folder) {
  const sheet = (await readFile(KATEX, 'utf8')).replace(OLDER_FONTS, '');
  const fonts = new Map();
  for (const [, path, name] of sheet.matchAll(FONT)) {
    fonts.set(path, await written(folder, name, 'woff2', await readFile(join(dirname(KATEX), path))));
  }
  return sheet.replace(FONT, (_, path) => `url(${fonts.get(path)})`);
}

async function written(folder, name, type, content) {
  const file = `${name}-${createHash('sha256').update(content).digest('hex').slice(0, 8)}.${type}`;
  await writeFile(join(folder, file), content);
  return file;
}
