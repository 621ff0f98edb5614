// useChat of the AI SDK (5, 6 and 7) needs nothing but the address.

import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport } from 'ai';
import { useState } from 'react';

const transport = new DefaultChatTransport({ api: '/api/v1/chat' });

export function AiSdkChat() {
  const { messages, sendMessage, status, stop, error } = useChat({ transport });
  const [text, setText] = useState('');
  const isBusy = status === 'submitted' || status === 'streaming';

  return (
    <section aria-label="useChat">
      <h2>useChat of the AI SDK</h2>
      {messages.map((message) => (
        <p key={message.id} className={message.role}>
          {message.parts.map((part) => (part.type === 'text' ? part.text : ''))}
        </p>
      ))}
      {error && <p role="alert">{error.message}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void sendMessage({ text });
          setText('');
        }}
      >
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
        {isBusy ? (
          <button type="button" onClick={() => void stop()}>
            Stop
          </button>
        ) : (
          <button disabled={!text}>Send</button>
        )}
      </form>
    </section>
  );
}
