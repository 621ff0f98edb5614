// Finding the answer of a turn that cannot be followed, among the messages of its thread.

import { type Api, ApiError, type Message } from './api';
import type { Pending } from './memory';
import type { Texts } from './texts';
import { canRetry } from './turn';

/** About two minutes. */
const POLL_DELAYS_MS = [500, 1000, 2000, 4000, ...Array<number>(14).fill(8000)];

/** How many questions have an answer; one answer may be several messages. */
export function answersIn(messages: Message[]): number {
  return messages.filter(({ role }, index) => role !== 'user' && messages[index - 1]?.role === 'user').length;
}

/** Whether the thread holds the turn's answer; messages of foreground turns name no run. */
export function isAnswered(messages: Message[], { runId, answersBefore }: Pending): boolean {
  return answersIn(messages) > answersBefore || messages.some(({ run_id }) => run_id !== null && run_id === runId);
}

export function endsWith(messages: Message[], question: string): boolean {
  const last = messages.at(-1);
  return last?.role === 'user' && last.content.some((part) => part.text?.value === question);
}

/** Asks for the messages until the answer is among them or nobody waits for it any more. */
export class AnswerPoll {
  private isOver = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly api: Api,
    private readonly texts: Texts,
    private readonly threadId: string,
    private readonly pending: Pending,
  ) {}

  async run(): Promise<void> {
    for (const delay of POLL_DELAYS_MS) {
      const messages = await this.api.messages(this.threadId).catch((error: unknown) => {
        if (!canRetry(error)) throw error;
      });
      if (this.isOver || (messages && isAnswered(messages, this.pending))) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, delay);
      });
      if (this.isOver) return;
    }
    throw new ApiError(this.texts.lost, 0);
  }

  end(): void {
    this.isOver = true;
    this.wake();
  }
}
