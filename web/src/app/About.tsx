// What assistant this is, as far as its operator shows it, and what the conversation has used.

import { type ReactNode, useEffect, useState } from 'react';
import type { Api } from '../service/api';
import type { AssistantObject, Page } from '../service/wire';
import { fill } from '../words';
import { useConversation, useSentence, useShared, useWords } from './context';
import { Dialog } from './Dialog';
import { tokensOf } from './shown';

interface Found {
  assistant: AssistantObject;
  /** Names of the knowledge files; null where the operator does not show them. */
  files: string[] | null;
}

interface KnowledgeFile {
  id: string;
  /** Of a file that came from a folder: where it lay there. */
  attributes?: { path?: string } | null;
}

const MAX_FILES = 100;

export default function About({ onClose }: { onClose: () => void }) {
  const words = useWords();
  const say = useSentence();
  const { api } = useShared();
  const tokens = tokensOf(useConversation().messages);
  const [found, setFound] = useState<Found | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    look(api).then(setFound, (error: unknown) => setProblem(say(error)));
  }, [api]);
  return (
    <Dialog title={words.about} onClose={onClose}>
      {problem && <p className="failure">{problem}</p>}
      {found && <Description found={found} />}
      {tokens > 0 && (
        <dl>
          <Row label={words.used}>{fill(words.conversationTokens, { total: tokens })}</Row>
        </dl>
      )}
    </Dialog>
  );
}

function Description({ found: { assistant, files } }: { found: Found }) {
  const words = useWords();
  const tools = assistant.tools.map((tool) => tool.function?.name ?? tool.type);
  return (
    <dl>
      <Row label={words.assistantSaid}>{assistant.name ?? words.title}</Row>
      <Row label={words.model}>{assistant.model}</Row>
      <Row label={words.instructions}>
        {assistant.instructions === null ? words.notShown : <span className="raw">{assistant.instructions || words.none}</span>}
      </Row>
      <Row label={words.tools}>{tools.join(', ') || words.none}</Row>
      <Row label={words.knowledge}>{files === null ? words.notShown : files.join(', ') || words.none}</Row>
    </dl>
  );
}

function Row({ label, children }: { label: string; children: ReactNode }) {
  return (
    <>
      <dt>{label}</dt>
      <dd dir="auto">{children}</dd>
    </>
  );
}

async function look(api: Api): Promise<Found> {
  const assistant = await api.assistant();
  if (!assistant) throw new Error('the service has no assistant');
  const stores = assistant.tool_resources?.file_search?.vector_store_ids ?? [];
  return { assistant, files: await knowledge(api, stores).catch(() => null) };
}

async function knowledge(api: Api, stores: string[]): Promise<string[]> {
  const pages = stores.map((id) => api.json<Page<KnowledgeFile>>(`/vector_stores/${id}/files?limit=${MAX_FILES}`));
  const files = (await Promise.all(pages)).flatMap(({ data }) => data);
  return Promise.all(files.map(({ id, attributes }) => attributes?.path ?? api.fileName(id).catch(() => id)));
}
