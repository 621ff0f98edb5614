import { useState } from 'react';
import { countMessages } from './client';
import { useSoloist } from './useSoloist';

export function FetchChat() {
  const { lines, error, isBusy, send, stop, threadId } = useSoloist();
  const [text, setText] = useState('');
  const [count, setCount] = useState<number | null>(null);

  return (
    <section aria-label="fetch">
      <h2>Plain fetch</h2>
      {lines.map((line, index) => (
        <p key={index} className={line.role}>
          {line.text}
        </p>
      ))}
      {error && <p role="alert">{error}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send(text);
          setText('');
        }}
      >
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        {isBusy ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button disabled={!text}>Send</button>
        )}
      </form>
      <button type="button" disabled={!lines.length} onClick={async () => setCount(await countMessages(threadId.current))}>
        Count the thread's messages
      </button>
      {count !== null && <output>{count} messages</output>}
    </section>
  );
}
