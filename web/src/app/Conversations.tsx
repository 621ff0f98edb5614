// The conversations of this browser, or of its user where the service lists them.

import { type FormEvent, type KeyboardEvent, useCallback, useEffect, useState } from 'react';
import { ApiError } from '../service/errors';
import type { Thread } from '../service/wire';
import { fill } from '../words';
import { useConversation, useSentence, useShared, useWords } from './context';
import { focusComposer } from './focus';
import { Icon } from './icons';

const SEARCH_AFTER_MS = 250;
const NARROW = matchMedia('(max-width: 720px)');

export default function Conversations({ onClose }: { onClose: () => void }) {
  const words = useWords();
  const { config, conversation } = useShared();
  const { threadId } = useConversation();
  const [query, setQuery] = useState('');
  const list = useThreads(query);
  const open = (id: string) => {
    void conversation.open(id);
    if (NARROW.matches || config.mode === 'frame') onClose();
    focusComposer();
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || event.defaultPrevented) return;
    event.preventDefault();
    onClose();
    focusComposer();
  };
  return (
    <nav className="conversations" aria-label={words.conversations} onKeyDown={pressed}>
      <input
        type="search"
        className="input"
        aria-label={words.search}
        placeholder={words.search}
        value={query}
        onChange={({ target }) => setQuery(target.value)}
        autoFocus
      />
      {list.problem && <p className="failure">{list.problem}</p>}
      {!list.problem && !list.threads.length && <p className="note">{query ? words.noneFound : words.noConversations}</p>}
      <ul>
        {list.threads.map((thread) => (
          <Entry key={thread.id} thread={thread} isOpen={thread.id === threadId} onOpen={open} list={list} />
        ))}
      </ul>
      {list.more && (
        <button type="button" className="chip" onClick={list.more}>
          {words.more}
        </button>
      )}
    </nav>
  );
}

interface EntryProps {
  thread: Thread;
  isOpen: boolean;
  onOpen: (id: string) => void;
  list: List;
}

function Entry({ thread, isOpen, onOpen, list }: EntryProps) {
  const words = useWords();
  const [mode, setMode] = useState<'shown' | 'named' | 'deleted'>('shown');
  const title = thread.title || words.untitled;
  if (mode === 'named') return <Rename title={title} onDone={(text) => (setMode('shown'), text && list.rename(thread.id, text))} />;
  if (mode === 'deleted') return <Delete onDone={(isSure) => (setMode('shown'), isSure && list.remove(thread.id))} />;
  const [rename, remove] = [fill(words.rename, { title }), fill(words.delete, { title })];
  return (
    <li className="entry">
      <button type="button" className="open" dir="auto" aria-current={isOpen} onClick={() => onOpen(thread.id)}>
        {title}
      </button>
      <button type="button" className="plain" aria-label={rename} title={rename} onClick={() => setMode('named')}>
        <Icon name="edit" />
      </button>
      <button type="button" className="plain" aria-label={remove} title={remove} onClick={() => setMode('deleted')}>
        <Icon name="trash" />
      </button>
    </li>
  );
}

function Rename({ title, onDone }: { title: string; onDone: (title: string | null) => void }) {
  const words = useWords();
  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    onDone(String(new FormData(event.currentTarget).get('title') ?? '').trim());
  };
  return (
    <li className="entry">
      <form onSubmit={send} onKeyDown={(event) => event.key === 'Escape' && (event.preventDefault(), onDone(null))}>
        <input name="title" className="input" defaultValue={title} maxLength={200} aria-label={words.newTitle} autoFocus dir="auto" />
      </form>
    </li>
  );
}

function Delete({ onDone }: { onDone: (isSure: boolean) => void }) {
  const words = useWords();
  return (
    <li className="entry">
      <div className="asking" role="group" aria-label={words.deleteAsked}>
        <span>{words.deleteAsked}</span>
        <button type="button" className="chip" autoFocus onClick={() => onDone(false)}>
          {words.cancel}
        </button>
        <button type="button" className="chip danger" onClick={() => onDone(true)}>
          {words.deleteNow}
        </button>
      </div>
    </li>
  );
}

interface List {
  threads: Thread[];
  problem: string;
  more: (() => void) | null;
  rename: (id: string, title: string) => void;
  remove: (id: string) => void;
}

/** The threads whose titles have the words of a query: the service's where it lists them, else the browser's. */
function useThreads(query: string): List {
  const { api, memory, config, conversation } = useShared();
  const { listed } = useConversation();
  const say = useSentence();
  const [threads, setThreads] = useState<Thread[]>([]);
  const [after, setAfter] = useState<string | null>(null);
  const [problem, setProblem] = useState('');
  const [isListed, setIsListed] = useState(config.features.threads);

  const load = useCallback(
    async (from: string | null, signal?: AbortSignal) => {
      if (!isListed) return setThreads(memory.threads.filter(({ title }) => hasWords(title, query)));
      try {
        const page = await api.threads(query, from);
        // Another search has begun meanwhile.
        if (signal?.aborted) return;
        setThreads((before) => (from ? [...before, ...page.data] : page.data));
        setAfter(page.has_more ? page.last_id : null);
        setProblem('');
      } catch (error) {
        // A session for one thread, or a caller who cannot be told from others, has no list at the service.
        if (error instanceof ApiError && [403, 501].includes(error.status)) setIsListed(false);
        else setProblem(say(error));
      }
    },
    [api, memory, query, isListed],
  );
  useEffect(() => {
    const search = new AbortController();
    const timer = setTimeout(() => void load(null, search.signal), query ? SEARCH_AFTER_MS : 0);
    return () => {
      search.abort();
      clearTimeout(timer);
    };
  }, [load, listed, query]);

  const change = (work: Promise<unknown>, deletedId: string | null) =>
    void work.then(
      () => conversation.listChanged(deletedId),
      (error: unknown) => setProblem(say(error)),
    );
  return {
    threads,
    problem,
    more: after ? () => void load(after) : null,
    rename: (id, title) => {
      memory.rename(id, title);
      change(isListed ? api.rename(id, title) : Promise.resolve(), null);
    },
    remove: (id) => change(gone(api.remove(id)).then(() => memory.forget(id)), id),
  };
}

/** A conversation that is gone already is deleted too. */
function gone(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  });
}

function hasWords(title: string, query: string): boolean {
  return query.toLowerCase().split(/\s+/).every((word) => title.toLowerCase().includes(word));
}
