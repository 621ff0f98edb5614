// A block of code: its language, a button that copies it, colours once it is closed.

import { memo, use, useEffect, useMemo, useState } from 'react';
import { SharedContext } from './context';
import { lazily } from './lazily';

const useHighlighter = lazily(() => import('./highlighter'));
/** How long the copy button says that it has copied. */
const COPIED_MS = 2_000;

export interface CodeProps {
  code: string;
  language: string;
  /** Whether more of it may follow. */
  isOpen: boolean;
}

export const Code = memo(function Code({ code, language, isOpen }: CodeProps) {
  const { words } = use(SharedContext)!;
  const highlighter = useHighlighter(language !== '' && !isOpen);
  const html = useMemo(
    () => (isOpen ? null : (highlighter?.highlighted(code, language.toLowerCase()) ?? null)),
    [highlighter, code, language, isOpen],
  );
  const label = language ? `${words.code}: ${language}` : words.code;
  return (
    <div className="md-code" dir="ltr">
      <div className="md-bar">
        <span>{language || words.code}</span>
        <CopyButton text={code} />
      </div>
      <pre tabIndex={0} role="group" aria-label={label}>
        {html === null ? <code>{code}</code> : <code dangerouslySetInnerHTML={{ __html: html }} />}
      </pre>
    </div>
  );
});

function CopyButton({ text }: { text: string }) {
  const { words } = use(SharedContext)!;
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(setCopied, COPIED_MS, false);
    return () => clearTimeout(timer);
  }, [isCopied]);
  return (
    <>
      <button type="button" onClick={() => void copy(text).then(setCopied)}>
        {isCopied ? words.copied : words.copyCode}
      </button>
      <span className="md-unseen" role="status">
        {isCopied ? words.copied : ''}
      </span>
    </>
  );
}

/** Puts text on the clipboard, in frames without permission for it too; resolves to whether it could be. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

function copySelected(text: string): boolean {
  const focused = document.activeElement;
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'md-unseen';
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return isCopied;
}
