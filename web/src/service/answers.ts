// Finding the answer of a turn that cannot be followed, among the messages of its thread.

import type { Api } from './api';
import { ApiError, isPassing } from './errors';
import type { KeptTurn } from './memory';
import type { Message } from './wire';

/** About two minutes. */
const POLL_DELAYS_MS = [500, 1000, 2000, 4000, ...Array<number>(14).fill(8000)];

/** More than a turn adds. */
const NEWEST = 100;

/** The messages that came after one; all of them after none, or after one that is gone. */
export function since(messages: Message[], after: string | null): Message[] {
  return messages.slice(messages.findIndex(({ id }) => id === after) + 1);
}

/** Whether the thread holds the turn's answer. */
export function isAnswered(messages: Message[], { after, runId }: KeptTurn): boolean {
  return since(messages, after).some(({ role }) => role === 'assistant') || messages.some(({ run_id: id }) => !!id && id === runId);
}

/** A question in its thread, and the message before it. */
export interface StoredQuestion {
  id: string;
  before: string | null;
}

/**
 * Where a thread keeps its last question, which is known by its id, or by the message that it was asked `after`;
 * null where it was refused. Raises `ApiError` if others have asked since, whose turns a replacement would delete unseen.
 */
export async function storedQuestion(
  api: Api,
  threadId: string,
  asked: { id: string | null; after: string | null; text: string },
): Promise<StoredQuestion | null> {
  const newest = await api.newest(threadId, NEWEST);
  const at = newest.findIndex(({ id }) => id === (asked.id ?? asked.after));
  const later = newest.slice(0, at < 0 ? newest.length : asked.id ? at + 1 : at);
  const questions = later.filter(({ role }) => role === 'user');
  const own = questions.at(-1);
  const isOwn = own && (asked.id ? own.id === asked.id : !asked.text || textOf(own) === asked.text);
  if (questions.length > 1 || (own && !isOwn) || (asked.id && !own)) throw new ApiError(409, 'thread_went_on');
  return own ? { id: own.id, before: newest[newest.indexOf(own) + 1]?.id ?? null } : null;
}

function textOf(message: Message): string {
  return message.content.map((part) => part.text?.value ?? '').filter(Boolean).join('\n\n').trim();
}

/** Asks for the newest messages until the answer is among them. Raises `ApiError` with the code `lost` after two minutes. */
export async function awaitAnswer(api: Api, threadId: string, turn: KeptTurn, signal: AbortSignal): Promise<void> {
  for (const delay of POLL_DELAYS_MS) {
    const newest = await api.newest(threadId, NEWEST).catch((error: unknown) => {
      if (!isPassing(error)) throw error;
    });
    if (signal.aborted || (newest && isAnswered(newest.reverse(), turn))) return;
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      setTimeout(resolve, delay);
    });
    if (signal.aborted) return;
  }
  throw new ApiError(0, 'lost');
}
