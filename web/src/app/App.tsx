// The whole app: a header, the conversations beside, the thread.

import { AssistantRuntimeProvider } from '@assistant-ui/react';
import { Suspense, useEffect, useMemo, useState } from 'react';
import { Uploads } from './attachments';
import { type Shared, SharedContext, useConversation, useShared } from './context';
import { Header } from './Header';
import { part } from './parts';
import { useRuntime } from './runtime';
import { Thread } from './Thread';

const Conversations = part(() => import('./Conversations'));
const About = part(() => import('./About'));
const COMPLAINT_MS = 12_000;

export function App({ shared }: { shared: Shared }) {
  return (
    <SharedContext.Provider value={shared}>
      <Chat />
    </SharedContext.Provider>
  );
}

function Chat() {
  const { api, config, language } = useShared();
  const [complaints, complain] = useComplaints();
  const [hasList, setHasList] = useState(false);
  const [isAbout, setIsAbout] = useState(false);
  const uploads = useMemo(() => new Uploads(api, config.files, language, complain), [api, config, language, complain]);
  const runtime = useRuntime(uploads);
  useEscape();
  return (
    <AssistantRuntimeProvider runtime={runtime}>
      <div className="app" data-mode={config.mode} data-list={hasList}>
        <Header hasList={hasList} onList={() => setHasList(!hasList)} onAbout={() => setIsAbout(true)} />
        {hasList && (
          <Suspense>
            <Conversations onClose={() => setHasList(false)} />
          </Suspense>
        )}
        <Thread complaints={complaints} />
        {isAbout && (
          <Suspense>
            <About onClose={() => setIsAbout(false)} />
          </Suspense>
        )}
      </div>
    </AssistantRuntimeProvider>
  );
}

/** Sentences that go away by themselves. */
function useComplaints(): [string[], (text: string) => void] {
  const [complaints, setComplaints] = useState<string[]>([]);
  const complain = useMemo(
    () => (text: string) => {
      setComplaints((before) => [...new Set([...before, text])]);
      setTimeout(() => setComplaints((before) => before.filter((one) => one !== text)), COMPLAINT_MS);
    },
    [],
  );
  return [complaints, complain];
}

/** Escape stops the answer; where none is written it closes a chat that can be closed. */
function useEscape(): void {
  const { conversation, close } = useShared();
  const { isRunning } = useConversation();
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
      if (isRunning) void conversation.stop();
      else close?.();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, [conversation, close, isRunning]);
}
