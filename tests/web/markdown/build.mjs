// Builds the test page's script, as the app's is built: `node build.mjs <web> <page.tsx> <folder>`.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [web, page, folder] = process.argv.slice(2);
const { rolldown } = await import(pathToFileURL(createRequire(join(web, 'package.json')).resolve('rolldown')).href);
const { writeSheets } = await import(pathToFileURL(join(web, 'src/markdown/sheets.mjs')).href);
const define = { 'process.env.NODE_ENV': '"production"', SHEETS: JSON.stringify(await writeSheets(folder)) };
const build = await rolldown({
  input: { page },
  resolve: { modules: [join(web, 'node_modules')] },
  transform: { define, target: 'es2022', jsx: 'react-jsx' },
  logLevel: 'silent',
});
await build.write({ dir: folder, format: 'esm', minify: true, comments: false, entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' });
