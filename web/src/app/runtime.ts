// Ties our conversation to assistant-ui's primitives: it is the store, they draw and listen.

import { type AppendMessage, type ThreadMessageLike, useExternalStoreRuntime } from '@assistant-ui/react';
import type { Uploads } from './attachments';
import { useConversation, useShared } from './context';
import type { ShownMessage } from './shown';

export function useRuntime(uploads: Uploads) {
  const { conversation, appearance } = useShared();
  const { messages, isRunning, isLoading } = useConversation();
  return useExternalStoreRuntime<ShownMessage>({
    messages,
    isRunning,
    // What is asked before the messages are there would be asked after a turn that nobody sees.
    isSendDisabled: isLoading,
    convertMessage,
    onNew: async (message) => {
      const files = uploads.take((message.attachments ?? []).map(({ id }) => id));
      const text = textOf(message);
      // Nothing is left to ask where a file was all there was, and could not be uploaded.
      if (text || files.length) void conversation.ask(text, files);
    },
    onEdit: async (message) => void conversation.again(textOf(message)),
    onReload: async () => void conversation.again(),
    onCancel: () => conversation.stop(),
    adapters: appearance.uploads ? { attachments: uploads } : {},
  });
}

function convertMessage(shown: ShownMessage): ThreadMessageLike {
  const message = {
    id: shown.key,
    role: shown.role,
    content: [{ type: 'text' as const, text: shown.text }],
    metadata: { custom: { shown } },
  };
  if (shown.role === 'user') return message;
  return { ...message, status: shown.status === 'running' ? { type: 'running' } : { type: 'complete', reason: 'stop' } };
}

function textOf(message: AppendMessage): string {
  return message.content.map((part) => (part.type === 'text' ? part.text : '')).join('').trim();
}
