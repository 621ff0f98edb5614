// A chat over POST /api/v1/chat with plain fetch: no library, and it remembers its thread.

import { useRef, useState } from 'react';

export interface Line {
  role: 'user' | 'assistant';
  text: string;
}

/** Yields the events of a chat stream: `thread`, `delta`, `annotation`, then `done` or `error`. */
async function* events(response: Response): AsyncGenerator<{ name: string; data: any }> {
  let rest = '';
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream()) as unknown as AsyncIterable<string>) {
    const frames = (rest + piece).split('\n\n');
    rest = frames.pop() ?? '';
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame)?.[1];
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

export function useSoloist(api = '/api/v1', token?: string) {
  const [lines, setLines] = useState<Line[]>([]);
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const threadId = useRef<string | undefined>(undefined);
  const stopping = useRef<AbortController | null>(null);

  const append = (text: string) =>
    setLines((before) => [...before.slice(0, -1), { role: 'assistant', text: before[before.length - 1].text + text }]);

  async function send(message: string) {
    setLines((before) => [...before, { role: 'user', text: message }, { role: 'assistant', text: '' }]);
    setError(null);
    setBusy(true);
    stopping.current = new AbortController();
    try {
      const response = await fetch(`${api}/chat`, {
        method: 'POST',
        signal: stopping.current.signal,
        headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ message, thread_id: threadId.current, stream: true }),
      });
      if (!response.ok) throw new Error((await response.json()).error.message);
      for await (const { name, data } of events(response)) {
        if (name === 'thread') threadId.current = data.thread_id;
        else if (name === 'delta') append(data.text);
        else if (name === 'error') throw new Error(data.error.message);
      }
    } catch (failure) {
      if ((failure as Error).name !== 'AbortError') setError((failure as Error).message);
    } finally {
      setBusy(false);
    }
  }

  /** Leaving the stream cancels the run: nobody pays for words that nobody reads. */
  const stop = () => stopping.current?.abort();

  return { lines, error, isBusy, send, stop, threadId };
}
