// A formula: its source until KaTeX has drawn it, and where KaTeX cannot.

import { memo, use, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { SharedContext } from './context';
import { lazily } from './lazily';

const useKatex = lazily(() => import('./katex'));

export interface FormulaProps {
  /** With its delimiters. */
  source: string;
  isDisplay: boolean;
}

export const Formula = memo(function Formula({ source, isDisplay }: FormulaProps) {
  const { words, drawsFormulas } = use(SharedContext)!;
  const katex = useKatex(drawsFormulas);
  const place = useRef<HTMLSpanElement>(null);
  const [drawn, setDrawn] = useState<HTMLElement | null>(null);
  useEffect(() => katex?.drawSoon(source.slice(2, -2), isDisplay, setDrawn), [katex, source, isDisplay]);
  useLayoutEffect(() => {
    if (drawn) place.current?.replaceChildren(drawn);
  }, [drawn]);
  if (!drawn) {
    return (
      <code className="md-tex" dir="ltr">
        {source}
      </code>
    );
  }
  if (!isDisplay) return <span ref={place} className="md-formula" dir="ltr" />;
  return <span ref={place} className="md-formula md-display" dir="ltr" role="group" tabIndex={0} aria-label={words.formula} />;
});
