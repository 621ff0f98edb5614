// An answer in Markdown. Everything in it is untrusted: no HTML, no foreign pictures, no link but to the web and mail.

import { memo, useEffect, useMemo, useReducer, useRef } from 'react';
import { blocks } from './blocks';
import type { NumberedSource } from '../service/readable';
import { type MarkdownWords, SharedContext } from './context';
import { childrenOf, definitionsIn } from './nodes';
import { parse } from './parse';
import { stylesheet } from './sheets';

export { copy } from './Code';

/** Formulas in one answer that are drawn. */
const MOST_FORMULAS = 500;
const FORMULA = /\\[([]|\$\$/g;
/** A link whose address is still being written. */
const UNFINISHED_LINK = /!?\[([^[\]\n]{1,200})\]\([^()\s]{0,2000}$/;
/** A last block of more characters is parsed at most once in so many milliseconds while it grows. */
const LONG = 2_000;
const PAUSE_MS = 100;

export interface AnswerProps {
  text: string;
  /** Whether more text may follow. */
  isStreaming?: boolean;
  sources?: readonly NumberedSource[];
  onSource?: (number: number) => void;
  words: MarkdownWords;
}

await stylesheet('markdown');

export function Answer({ text, isStreaming = false, sources = [], onSource = ignore, words }: AnswerProps) {
  const written = useMemo(() => text.replace(/\r\n?/g, '\n').replace(/^\ufeff/, ''), [text]);
  const parts = useMemo(() => blocks(written), [written]);
  const drawsFormulas = useMemo(() => (written.match(FORMULA)?.length ?? 0) <= MOST_FORMULAS * 2, [written]);
  return (
    <SharedContext value={{ words, sources, onSource, drawsFormulas }}>
      <div className="md-answer">
        {parts.map((part, index) => (
          <Block key={index} text={part} isOpen={isStreaming && index === parts.length - 1} />
        ))}
      </div>
    </SharedContext>
  );
}

const Block = memo(function Block({ text, isOpen }: { text: string; isOpen: boolean }) {
  const calm = useCalm(text, isOpen);
  return useMemo(() => {
    const written = isOpen ? calm.replace(UNFINISHED_LINK, '$1') : calm;
    const tree = parse(written);
    if (!tree) return <p className="md-plain" dir="auto">{written}</p>;
    const openFrom = isOpen ? written.trimEnd().length : Infinity;
    return childrenOf(tree, { definitions: definitionsIn(tree), openFrom });
  }, [calm, isOpen]);
});

/** A growing text, taken in less often once it is long. */
function useCalm(text: string, isOpen: boolean): string {
  const taken = useRef({ text, at: 0 });
  const [, again] = useReducer((count: number) => count + 1, 0);
  const now = performance.now();
  const isDue = !isOpen || text.length < LONG || now - taken.current.at >= PAUSE_MS;
  if (isDue && taken.current.text !== text) taken.current = { text, at: now };
  const calm = taken.current.text;
  useEffect(() => {
    if (calm === text) return;
    const timer = setTimeout(again, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [calm, text]);
  return calm;
}

export default Answer;

function ignore(): void {
  // Sources are shown, but lead nowhere.
}
