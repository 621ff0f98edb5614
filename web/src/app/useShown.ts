// The message that a component stands in.

import { type Attachment, useAuiState } from '@assistant-ui/react';
import { useMemo } from 'react';
import { useConversation } from './context';
import { question, type ShownFile, type ShownMessage } from './shown';

/** The message: ours, or a question whose files are still going up. */
export function useShown(): ShownMessage {
  const shown = useAuiState(({ message }) => message.metadata.custom.shown) as ShownMessage | undefined;
  const waiting = useAuiState(({ message }) => message.submission);
  return useMemo(() => shown ?? question(waiting?.text ?? '', (waiting?.attachments ?? []).map(uploading)), [shown, waiting]);
}

function uploading({ name, status }: Attachment): ShownFile {
  return { id: '', name, uploaded: status.type === 'running' ? Math.round(status.progress) : 100 };
}

/** Whether it is the conversation's last message. */
export function useIsLast(): boolean {
  const { key } = useShown();
  return useConversation().messages.at(-1)?.key === key;
}

export function useIsLastQuestion(): boolean {
  const { key } = useShown();
  return useConversation().messages.findLast(({ role }) => role === 'user')?.key === key;
}
