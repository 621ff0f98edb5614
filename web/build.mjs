// Builds web/dist: the playground, the widget, the API's page, and what they load, each beside its gzip.
import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const OUT = 'dist';
const SWAGGER = 'node_modules/swagger-ui-dist';

// deep-chat lets every link through, `javascript:` included, and loads pictures from anywhere. What a model
// writes must do neither on somebody's site, and deep-chat has no option for it: links that lead nowhere from
// here (`docs/x.md`, `#top`) become their words, as do pictures. A build in which one of these places is not
// found exactly once fails, so a new version cannot undo them unseen.
const SAFE_RULES = `(({rules:r})=>{
  const open=r.link_open;let plain=false;
  r.link_open=(t,i,o,e)=>(plain=!/^(https?:|mailto:)/i.test(t[i].href.trim()))?"":open(t,i,o,e);
  r.link_close=()=>plain?"":"</a>";
  r.image=(t,i)=>(t[i].alt||"").replace(/[&<>"]/g,c=>"&#"+c.charCodeAt(0)+";");
  r.footnote_ref=(t,i)=>"<sup>["+(t[i].id+1)+"]</sup>";
  r.footnote_anchor=()=>"";
})(s.renderer)`;
// Emphasis that nothing closes is searched for to the end from each of its marks: 60 KB of `**a ` took seven
// seconds. A paragraph with more marks than people write is shown as its characters.
const MOST_MARKS = 300;
const BOUNDED = `(p=>{
  const parse=p.parse;
  p.parse=(t,o,e,k)=>t.split(/[*_~+=^[<]/,${MOST_MARKS}+2).length>${MOST_MARKS}+1
    ?k.push({type:"text",content:t,level:0}):parse.call(p,t,o,e,k);
})(s.inline)`;
const PATCHES = [
  ['s.inline.validateLink=()=>!0', `s.inline.validateLink=()=>!0,${SAFE_RULES},${BOUNDED}`],
  ['<div style="color:#00000000">.</div>', '<div class="deep-chat-empty"></div>'],
];

const safeDeepChat = {
  name: 'safe-deep-chat',
  setup({ onLoad }) {
    onLoad({ filter: /deepChat\.bundle\.js$/ }, async ({ path }) => {
      let contents = await readFile(path, 'utf8');
      for (const [from, to] of PATCHES) {
        const pieces = contents.split(from);
        if (pieces.length !== 2) throw new Error(`deep-chat changed: ${from} occurs ${pieces.length - 1} times`);
        contents = pieces.join(to);
      }
      return { contents, loader: 'js' };
    });
  },
};

async function compress(folder) {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await compress(path);
    else if (!path.endsWith('.gz')) await writeFile(`${path}.gz`, gzipSync(await readFile(path), { level: 9 }));
  }
}

await rm(OUT, { recursive: true, force: true });
await mkdir(OUT, { recursive: true });
const common = {
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  loader: { '.css': 'text' },
  plugins: [safeDeepChat],
  logLevel: 'warning',
};
await build({
  ...common,
  entryPoints: { embed: 'src/embed.ts', 'assets/playground': 'src/playground.ts', 'assets/docs': 'src/docs.ts' },
  outdir: OUT,
  splitting: true,
  chunkNames: 'assets/[name]-[hash]',
});
await cp('src/playground.html', join(OUT, 'playground.html'));
await cp('src/playground.css', join(OUT, 'assets/playground.css'));
await cp('src/docs.html', join(OUT, 'docs.html'));
await cp('src/docs.css', join(OUT, 'assets/docs.css'));
for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js']) await cp(join(SWAGGER, name), join(OUT, 'assets', name));
for (const name of ['LICENSE', 'NOTICE', 'swagger-ui-bundle.js.LICENSE.txt']) {
  await cp(join(SWAGGER, name), join(OUT, 'licenses/swagger-ui', name));
}
await compress(OUT);
