// The messages that the page shows, and how those of the service become them.

import type { Api } from '../service/api';
import type { AnswerFacts, KeptTurn, Upload } from '../service/memory';
import type { Decision, Message, Source, ToolEvent, Usage, WaitingCall } from '../service/wire';
import { flat } from '../service/turn';

export type Status = 'running' | 'completed' | 'stopped' | 'incomplete' | 'expired' | 'requires_action' | 'failed';

export interface ShownFile {
  id: string;
  /** Null until it is looked up. */
  name: string | null;
  /** How much of it has gone up, in percent; only while it does. */
  uploaded?: number;
}

/** A call that a person has decided about. */
export type DecidedCall = WaitingCall & Pick<Decision, 'output'>;

export interface ShownMessage {
  /** Names the message on the page; stays the same while it is written. */
  key: string;
  role: 'user' | 'assistant';
  /** The message's id at the service, where it is known. */
  id: string | null;
  runId: string | null;
  text: string;
  files: ShownFile[];
  /** Ids of picture files. */
  pictures: string[];
  sources: Source[];
  tools: ToolEvent[];
  reasoning: string;
  status: Status;
  error: unknown;
  /** A sentence below the answer, by its name among the words. */
  note: 'notStopped' | null;
  usage: Usage | null;
  calls: WaitingCall[];
  decisions: Decision[];
  decided: DecidedCall[];
  /** Of a question: the thread's last message before it; undefined where that is not known. */
  after?: string | null;
}

let made = 0;

function empty(role: ShownMessage['role'], status: Status): ShownMessage {
  const lists = { files: [], pictures: [], sources: [], tools: [], calls: [], decisions: [], decided: [] };
  const key = `${role}-${++made}`;
  return { key, role, id: null, runId: null, text: '', reasoning: '', status, error: null, note: null, usage: null, ...lists };
}

export function question(text: string, files: ShownFile[], pictures: string[] = []): ShownMessage {
  return { ...empty('user', 'completed'), text, files, pictures };
}

/** A question's files, as a turn is asked with them and kept. */
export function uploadsOf({ files, pictures }: ShownMessage): Upload[] {
  const images = pictures.map((id) => ({ id, name: null, isImage: true }));
  return [...files.map(({ id, name }) => ({ id, name, isImage: false })), ...images];
}

/** The question of a turn that the thread does not hold. */
export function keptQuestion({ question: text, files, after }: KeptTurn): ShownMessage {
  const pictures = files.filter(({ isImage }) => isImage).map(({ id }) => id);
  return { ...question(text, files.filter(({ isImage }) => !isImage), pictures), after };
}

/** What the shown answers have used in all; NaN where that is not known of each. */
export function tokensOf(messages: ShownMessage[]): number {
  const answers = messages.filter(({ role, status, runId }) => role === 'assistant' && status !== 'running' && (status !== 'failed' || runId));
  return answers.reduce((total, { usage }) => total + (usage?.total_tokens ?? NaN), 0);
}

export function answer(status: Status, error: unknown = null): ShownMessage {
  return { ...empty('assistant', status), error };
}

/** The messages of a thread, oldest first, as the page shows them: those of one run are one answer. */
export async function history(api: Api, messages: Message[], known: Map<string, AnswerFacts>): Promise<ShownMessage[]> {
  const shown: ShownMessage[] = [];
  for (const message of messages) {
    const one = shownMessage(message, known);
    const last = shown.at(-1);
    if (last?.role === 'assistant' && one.role === 'assistant') shown[shown.length - 1] = joined(last, one);
    else shown.push(one);
  }
  return Promise.all(shown.map(async (message) => ({ ...message, sources: await namedSources(api, message.sources) })));
}

const STATUSES: Record<string, Status> = {
  cancelled: 'stopped',
  cancelling: 'stopped',
  incomplete: 'incomplete',
  expired: 'expired',
  requires_action: 'requires_action',
};

/** How a run's status looks on the page. */
export function statusOf(run: string): Status {
  return STATUSES[run] ?? 'completed';
}

function shownMessage(message: Message, known: Map<string, AnswerFacts>): ShownMessage {
  const facts = known.get(message.id);
  const texts = message.content.map((part) => part.text?.value ?? part.refusal ?? '').filter(Boolean);
  return {
    ...empty(message.role, message.status === 'incomplete' ? statusOf(facts?.status ?? 'cancelled') : 'completed'),
    key: message.id,
    id: message.id,
    runId: message.run_id ?? facts?.runId ?? null,
    text: texts.join('\n\n').trim(),
    files: (message.attachments ?? []).map(({ file_id: id }) => ({ id, name: null })),
    pictures: message.content.flatMap((part) => (part.image_file ? [part.image_file.file_id] : [])),
    sources: message.content.flatMap((part) => (part.text?.annotations ?? []).map(flat)),
    usage: facts?.usage ?? null,
  };
}

function joined(first: ShownMessage, second: ShownMessage): ShownMessage {
  return {
    ...second,
    key: first.key,
    text: [first.text, second.text].filter(Boolean).join('\n\n'),
    pictures: [...first.pictures, ...second.pictures],
    sources: [...first.sources, ...second.sources],
  };
}

/** Looks up the names of files that sources have only by their ids. */
export function namedSources(api: Api, sources: Source[]): Promise<Source[]> {
  const named = sources.map(async (source) => {
    if (source.filename || !source.file_id) return source;
    return { ...source, filename: await api.fileName(source.file_id).catch(() => undefined) };
  });
  return Promise.all(named);
}

export function outputFor(callId: string, decisions: Decision[]): Decision['output'] {
  return decisions.find(({ tool_call_id: id }) => id === callId)?.output ?? 'deny';
}

export function joinedText(said: string, text: string): string {
  return said && text ? `${said}\n\n${text}` : said || text;
}

export function withTool(tools: ToolEvent[], tool: ToolEvent): ToolEvent[] {
  const index = tools.findIndex(({ id }) => id === tool.id);
  return index < 0 ? [...tools, tool] : tools.with(index, tool);
}
