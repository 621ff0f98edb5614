// An answer: its text, what the assistant did for it, where it comes from, and what a person can do with it.

import { ActionBarPrimitive, MessagePrimitive } from '@assistant-ui/react';
import { Suspense, useMemo, useState } from 'react';
import { isPicture, madeFiles, numbered, type NumberedSource, readable } from '../service/readable';
import { fill, type Words } from '../words';
import { useSentence, useShared, useWords } from './context';
import { Feedback } from './Feedback';
import { Download, Picture } from './files';
import { Icon } from './icons';
import type { ShownMessage, Status } from './shown';
import { part } from './parts';
import { Approvals, Tools } from './Tools';
import { useIsLast, useShown } from './useShown';

const Markdown = part(() => import('../markdown/Answer'));
const SourceDialog = part(() => import('./SourceDialog'));

const NOTES: Partial<Record<Status, keyof Words>> = {
  stopped: 'stopped',
  incomplete: 'incomplete',
  expired: 'expired',
};

export function AssistantMessage() {
  const words = useWords();
  const { appearance, api } = useShared();
  const shown = useShown();
  const [opened, setOpened] = useState<NumberedSource | null>(null);
  const sources = useMemo(() => numbered(shown.text, shown.sources), [shown.text, shown.sources]);
  const text = useMemo(() => readable(shown.text, shown.sources, api.base), [shown.text, shown.sources, api]);
  const isRunning = shown.status === 'running';
  const isLast = useIsLast();
  return (
    <MessagePrimitive.Root className="message assistant" aria-label={words.assistantSaid} role="article" aria-busy={isRunning}>
      {appearance.avatar && <img className="avatar" src={appearance.avatar} alt="" />}
      <div className="said">
        <Reasoning text={shown.reasoning} />
        <Tools message={shown} />
        {text && <Text text={text} isStreaming={isRunning} sources={sources} onSource={setOpened} />}
        {isRunning && !text && <Dots />}
        <Made message={shown} />
        <Sources sources={sources} onSource={setOpened} />
        <Note message={shown} />
        <Failure message={shown} />
        {isLast && <Approvals message={shown} />}
        {!isRunning && <Actions message={shown} />}
      </div>
      {opened && (
        <Suspense>
          <SourceDialog source={opened} runId={shown.runId} onClose={() => setOpened(null)} />
        </Suspense>
      )}
    </MessagePrimitive.Root>
  );
}

interface TextProps {
  text: string;
  isStreaming: boolean;
  sources: NumberedSource[];
  onSource: (source: NumberedSource) => void;
}

function Text({ text, isStreaming, sources, onSource }: TextProps) {
  const words = useWords();
  const open = (number: number) => {
    const source = sources.find((one) => one.number === number);
    if (source) onSource(source);
  };
  return (
    <div className="text">
      <Suspense fallback={<p className="raw" dir="auto">{text}</p>}>
        <Markdown text={text} isStreaming={isStreaming} sources={sources} onSource={open} words={words} />
      </Suspense>
    </div>
  );
}

function Reasoning({ text }: { text: string }) {
  const words = useWords();
  if (!text) return null;
  return (
    <details className="fold">
      <summary>{words.reasoning}</summary>
      <p className="raw" dir="auto">
        {text}
      </p>
    </details>
  );
}

function Dots() {
  return (
    <span className="dots" aria-hidden="true">
      <i />
      <i />
      <i />
    </span>
  );
}

/** Pictures and files that the assistant made. */
function Made({ message }: { message: ShownMessage }) {
  const words = useWords();
  const files = madeFiles(message.sources);
  const pictures = files.filter(({ filename }) => isPicture(filename));
  const others = files.filter(({ filename }) => !isPicture(filename));
  return (
    <>
      {pictures.map(({ file_id: id, filename }) => (
        <Picture key={id} id={id ?? ''} name={filename ?? words.file} />
      ))}
      {/* An answer's own parts are the same pictures as the files that it cites. */}
      {!pictures.length && message.pictures.map((id) => <Picture key={id} id={id} name={`${words.picture}.png`} />)}
      {others.length > 0 && (
        <ul className="chips" aria-label={words.files}>
          {others.map(({ file_id: id, filename }) => (
            <li key={id}>
              <Download id={id ?? ''} name={filename ?? words.file} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Sources({ sources, onSource }: Pick<TextProps, 'sources' | 'onSource'>) {
  const words = useWords();
  if (!sources.length) return null;
  return (
    <ol className="chips sources" aria-label={words.sources}>
      {sources.map((source) => (
        <li key={source.number}>
          <SourceChip source={source} onSource={onSource} />
        </li>
      ))}
    </ol>
  );
}

function SourceChip({ source, onSource }: { source: NumberedSource; onSource: TextProps['onSource'] }) {
  const words = useWords();
  const name = source.title || source.filename || source.url || words.file;
  const label = `${source.number}. ${name}`;
  if (source.url && /^https?:/i.test(source.url)) {
    return (
      <a className="chip" href={source.url} title={source.url} target="_blank" rel="noopener noreferrer">
        {label}
      </a>
    );
  }
  return (
    <button type="button" className="chip" aria-label={fill(words.source, { number: source.number, name })} onClick={() => onSource(source)}>
      {label}
    </button>
  );
}

function Note({ message }: { message: ShownMessage }) {
  const words = useWords();
  const isLast = useIsLast();
  const asksForTools = message.status === 'requires_action' && !message.calls.every(({ approval }) => approval === 'required');
  const isLeft = message.status === 'requires_action' && !isLast;
  const name = message.note ?? (isLeft ? 'notDecided' : asksForTools ? 'needsTool' : NOTES[message.status]);
  return name ? <p className="note">{words[name]}</p> : null;
}

function Failure({ message }: { message: ShownMessage }) {
  const words = useWords();
  const say = useSentence();
  const { conversation } = useShared();
  const isLast = useIsLast();
  if (message.status !== 'failed') return null;
  return (
    <div className="failure" role="alert">
      <p>{say(message.error)}</p>
      {isLast && (
        <button type="button" className="chip" onClick={() => void conversation.again()}>
          <Icon name="redo" />
          {words.retry}
        </button>
      )}
    </div>
  );
}

function Actions({ message }: { message: ShownMessage }) {
  const words = useWords();
  const isLast = useIsLast();
  const { config } = useShared();
  const hasText = !!message.text;
  return (
    <ActionBarPrimitive.Root className="actions">
      {hasText && (
        <ActionBarPrimitive.Copy className="plain copy" aria-label={words.copy} title={words.copy}>
          <Icon name="copy" />
          <Icon name="check" />
        </ActionBarPrimitive.Copy>
      )}
      {isLast && message.status !== 'failed' && message.status !== 'requires_action' && (
        <ActionBarPrimitive.Reload className="plain" aria-label={words.regenerate} title={words.regenerate}>
          <Icon name="redo" />
        </ActionBarPrimitive.Reload>
      )}
      {hasText && config.features.feedback && <Feedback message={message} />}
      {config.mode === 'page' && message.usage && (
        <span className="tokens">
          {fill(words.tokens, {
            total: message.usage.total_tokens,
            prompt: message.usage.prompt_tokens,
            completion: message.usage.completion_tokens,
          })}
        </span>
      )}
    </ActionBarPrimitive.Root>
  );
}
