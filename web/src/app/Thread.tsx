// The messages, the box to write in, and what stands between them.

import { AuiIf, ThreadPrimitive, useAuiState } from '@assistant-ui/react';
import { Suspense, useEffect, useState } from 'react';
import { fill } from '../words';
import { Composer } from './Composer';
import { useConversation, useSentence, useShared, useWords } from './context';
import { Icon } from './icons';
import { part } from './parts';

const Messages = part(() => import('./Messages'));

export function Thread({ complaints }: { complaints: string[] }) {
  const words = useWords();
  const { isLoading } = useConversation();
  const isEmpty = useAuiState(({ thread }) => !thread.messages.length);
  return (
    <ThreadPrimitive.Root className="thread" role="main">
      <ThreadPrimitive.Viewport className="viewport" role="log" aria-live="off" aria-label={words.conversation} tabIndex={0}>
        <div className="column">
          {isLoading && <p className="notice">{words.loading}</p>}
          {!isLoading && isEmpty && <Welcome />}
          <Suspense>
            <Messages />
          </Suspense>
          <LoadError />
        </div>
      </ThreadPrimitive.Viewport>
      <div className="column below">
        <AuiIf condition={({ thread }) => !thread.isEmpty}>
          <ThreadPrimitive.ScrollToBottom className="round to-bottom" aria-label={words.toBottom} title={words.toBottom}>
            <Icon name="down" />
          </ThreadPrimitive.ScrollToBottom>
        </AuiIf>
        <Notices complaints={complaints} />
        <Composer />
        <Disclaimer />
      </div>
      <Announcer />
    </ThreadPrimitive.Root>
  );
}

function Welcome() {
  const words = useWords();
  const { appearance, config, conversation } = useShared();
  const isGuide = config.responder === 'guide';
  const starters = appearance.starters ?? (isGuide ? words.guideStarters.split('|') : []);
  return (
    <div className="welcome">
      {appearance.avatar && <img className="avatar large" src={appearance.avatar} alt="" />}
      {appearance.title && <p className="name">{appearance.title}</p>}
      <p dir="auto">{appearance.greeting ?? words.greeting}</p>
      {starters.length > 0 && (
        <ul className="starters">
          {starters.map((text) => (
            <li key={text}>
              <button type="button" dir="auto" onClick={() => void conversation.ask(text)}>
                {text}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function LoadError() {
  const words = useWords();
  const say = useSentence();
  const { conversation } = useShared();
  const { loadError } = useConversation();
  if (!loadError) return null;
  return (
    <div className="failure" role="alert">
      <p>
        {words.notLoaded} {say(loadError)}
      </p>
      <button type="button" className="chip" onClick={() => void conversation.load()}>
        <Icon name="redo" />
        {words.retry}
      </button>
    </div>
  );
}

function Notices({ complaints }: { complaints: string[] }) {
  const words = useWords();
  const say = useSentence();
  const { notice, problem } = useConversation();
  return (
    <div className="notices" role="status">
      {!!problem && <p className="complaint">{say(problem)}</p>}
      {notice && <p>{words[notice]}</p>}
      {complaints.map((text) => (
        <p key={text} className="complaint">
          {text}
        </p>
      ))}
    </div>
  );
}

function Disclaimer() {
  const words = useWords();
  const { appearance, config } = useShared();
  const own = config.responder === 'guide' ? words.guideDisclaimer : words.disclaimer;
  const text = appearance.disclaimer ?? own;
  return text ? <p className="disclaimer">{text}</p> : null;
}

/** Tells those who cannot see the page that an answer is written, and what it says once it is whole. */
function Announcer() {
  const words = useWords();
  const say = useSentence();
  const { messages, isRunning } = useConversation();
  const [spoken, setSpoken] = useState('');
  const last = messages.at(-1);
  useEffect(() => {
    if (isRunning) setSpoken(words.answering);
    else if (spoken && last?.role === 'assistant') {
      setSpoken(last.status === 'failed' ? say(last.error) : fill(words.answered, { text: last.text }));
    }
    // Only the beginning and the end of an answer are told.
  }, [isRunning]);
  return (
    <div className="unseen" role="status" aria-live="polite">
      {spoken}
    </div>
  );
}
