// Thumbs up and down, with an optional word.

import { type FormEvent, useState } from 'react';
import { useConversation, useSentence, useShared, useWords } from './context';
import { Icon } from './icons';
import type { ShownMessage } from './shown';

type Value = 'up' | 'down';

export function Feedback({ message }: { message: ShownMessage }) {
  const words = useWords();
  const say = useSentence();
  const { api } = useShared();
  const { threadId } = useConversation();
  const [given, setGiven] = useState<Value | null>(null);
  const [said, setSaid] = useState('');
  const { id, runId } = message;
  if (!threadId || !(id || runId)) return null;
  const give = async (value: Value, comment?: string) => {
    const about = runId ? { run_id: runId } : { message_id: id ?? '' };
    setGiven(value);
    try {
      await api.feedback({ thread_id: threadId, ...about, value, ...(comment ? { comment } : {}) });
      setSaid(value === 'up' || comment !== undefined ? words.thanks : '');
    } catch (error) {
      setGiven(null);
      setSaid(say(error));
    }
  };
  return (
    <>
      {(['up', 'down'] as const).map((value) => (
        <button
          key={value}
          type="button"
          className="plain"
          aria-label={value === 'up' ? words.good : words.bad}
          title={value === 'up' ? words.good : words.bad}
          aria-pressed={given === value}
          onClick={() => void give(value)}
        >
          <Icon name={value === 'up' ? 'good' : 'bad'} />
        </button>
      ))}
      {given === 'down' && !said && <Comment onSend={(comment) => void give('down', comment)} />}
      <span role="status" className="note">
        {said}
      </span>
    </>
  );
}

function Comment({ onSend }: { onSend: (comment: string) => void }) {
  const words = useWords();
  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    onSend(String(new FormData(event.currentTarget).get('comment') ?? '').trim());
  };
  return (
    <form className="comment" onSubmit={send}>
      <input name="comment" maxLength={2000} aria-label={words.whyBad} placeholder={words.whyBad} autoFocus dir="auto" />
      <button type="submit" className="chip">
        {words.send}
      </button>
    </form>
  );
}
