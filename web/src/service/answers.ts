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
