// Builds web/dist: the chat app, its launcher, the API's page, and what they load, each beside its gzip.
import { gzipSync } from 'node:zlib';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { writeSheets } from './src/markdown/sheets.mjs';

const OUT = 'dist';
const ASSETS = join(OUT, 'assets');
const SWAGGER = 'node_modules/swagger-ui-dist';
/** Fonts are compressed already. */
const PACKED = /\.(gz|woff2)$/;

/** Bundles entry points into a folder; returns the chunks. */
async function bundle(input, folder, { entries = '[name].js', define = {} } = {}) {
  const build = await rolldown({
    input,
    transform: { define: { 'process.env.NODE_ENV': '"production"', ...define }, target: 'es2022' },
    moduleTypes: { '.css': 'text' },
    // Libraries mark modules for React's server, which there is none of here.
    onLog: (level, log, handle) => log.code === 'MODULE_LEVEL_DIRECTIVE' || handle(level, log),
  });
  const names = { entryFileNames: entries, chunkFileNames: '[name]-[hash].js' };
  return (await build.write({ dir: folder, format: 'esm', minify: true, comments: false, ...names })).output;
}

/** The app's page, which loads the entry and what that imports at once. */
async function appPage(chunks) {
  const entry = chunks.find(({ isEntry }) => isEntry);
  const preloads = entry.imports.map((name) => `<link rel="modulepreload" href="{{up}}assets/${name}" />`);
  const page = await readFile('src/app/app.html', 'utf8');
  return page.replace('<!--entry-->', entry.fileName).replace('<!--preloads-->', preloads.join('\n    '));
}

async function compress(folder) {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await compress(path);
    else if (!PACKED.test(path)) await writeFile(`${path}.gz`, gzipSync(await readFile(path), { level: 9 }));
  }
}

await rm(OUT, { recursive: true, force: true });
await mkdir(ASSETS, { recursive: true });
await bundle({ docs: 'src/docs/docs.ts' }, ASSETS);
// Files that other modules import are named by their content: a query would make a second module of them.
const entries = '[name]-[hash].js';
const tags = (await readdir('src/words/languages')).map((name) => name.replace(/\.ts$/, ''));
const languages = Object.fromEntries(tags.map((tag) => [tag, `src/words/languages/${tag}.ts`]));
const words = await bundle(languages, ASSETS, { entries: 'words-[name]-[hash].js' });
const files = Object.fromEntries(words.filter(({ isEntry }) => isEntry).map(({ name, fileName }) => [name, fileName]));
const define = { LANGUAGES: JSON.stringify(files), SHEETS: JSON.stringify(await writeSheets(ASSETS)) };
const launcher = Object.entries(files).map(async ([tag, file]) => [tag, (await import(`./${ASSETS}/${file}`)).launcher]);
const LAUNCHER = JSON.stringify(Object.fromEntries(await Promise.all(launcher)));
await bundle({ embed: 'src/embed/embed.ts' }, OUT, { define: { LAUNCHER } });
const chunks = await bundle({ app: 'src/app/main.tsx' }, ASSETS, { entries, define });
await writeFile(join(OUT, 'app.html'), await appPage(chunks));
await cp('src/app/app.css', join(ASSETS, 'app.css'));
await cp('src/docs/docs.html', join(OUT, 'docs.html'));
await cp('src/docs/docs.css', join(ASSETS, 'docs.css'));
for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js']) await cp(join(SWAGGER, name), join(ASSETS, name));
for (const name of ['LICENSE', 'NOTICE', 'swagger-ui-bundle.js.LICENSE.txt']) {
  await cp(join(SWAGGER, name), join(OUT, 'licenses/swagger-ui', name));
}
await compress(OUT);
