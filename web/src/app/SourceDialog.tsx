// The passages that an answer rests on, and the file that they are from.

import { useEffect, useState } from 'react';
import type { NumberedSource } from '../service/readable';
import { useConversation, useShared, useWords } from './context';
import { Dialog } from './Dialog';
import { Download } from './files';

const MAX_PASSAGES = 5;

export default function SourceDialog(props: { source: NumberedSource; runId: string | null; onClose: () => void }) {
  const words = useWords();
  const { source, onClose } = props;
  const passages = usePassages(source.file_id ?? '', props.runId);
  const name = source.filename ?? words.file;
  return (
    <Dialog title={`${source.number}. ${name}`} onClose={onClose}>
      {passages?.map((text) => (
        <blockquote key={text} dir="auto" aria-label={words.passage}>
          {text}
        </blockquote>
      ))}
      {passages?.length === 0 && <p className="note">{words.noPassage}</p>}
      {source.file_id && <Download id={source.file_id} name={name} />}
    </Dialog>
  );
}

/** What the run's searches found in a file; null while that is asked for. */
function usePassages(fileId: string, runId: string | null): string[] | null {
  const { api } = useShared();
  const { threadId } = useConversation();
  const [found, setFound] = useState<string[] | null>(null);
  useEffect(() => {
    const steps = threadId && runId ? api.steps(threadId, runId).catch(() => []) : Promise.resolve([]);
    void steps.then((all) => {
      const results = all.flatMap(({ step_details: { tool_calls: calls } }) => calls ?? []).flatMap((call) => call.file_search?.results ?? []);
      const texts = results.filter((one) => one.file_id === fileId).flatMap((one) => one.content?.map(({ text }) => text ?? '') ?? []);
      setFound([...new Set(texts.filter(Boolean))].slice(0, MAX_PASSAGES));
    });
  }, [api, fileId, runId, threadId]);
  return found;
}
