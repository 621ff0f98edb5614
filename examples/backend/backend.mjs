// A page's own backend with Express: it knows its user, holds the API key, and mints short-lived sessions.
// Run it: npm install && SOLOIST_API_KEY=… node backend.mjs

import express from 'express';
import { readFile } from 'node:fs/promises';

const { SOLOIST_API_KEY, SOLOIST_URL = 'http://127.0.0.1:8010', PORT = '3000' } = process.env;
const { PAGE_ORIGIN = `http://127.0.0.1:${PORT}` } = process.env;
const app = express();

// Your own login takes the cookie's place.
app.post('/token', async (request, response) => {
  const user = /(?:^|; )user=([^;]+)/.exec(request.headers.cookie ?? '')?.[1];
  if (!user) return response.status(401).json({ detail: 'Sign in first.' });
  const minted = await fetch(`${SOLOIST_URL}/api/v1/sessions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${SOLOIST_API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ user, origins: [PAGE_ORIGIN] }),
  });
  response.status(minted.status).json(await minted.json());
});

app.get('/', async (_request, response) => {
  const html = await readFile(new URL('page.html', import.meta.url), 'utf8');
  response.cookie('user', 'visitor', { httpOnly: true, sameSite: 'lax' });
  response.type('html').send(html.replaceAll('SOLOIST_URL', SOLOIST_URL));
});

app.listen(Number(PORT), '127.0.0.1');
