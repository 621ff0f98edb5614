// A question: its words, its files, and a way to ask it differently.

import { ActionBarPrimitive, ComposerPrimitive, MessagePrimitive, useAuiState } from '@assistant-ui/react';
import { useConversation, useShared, useWords } from './context';
import { FileName, Picture } from './files';
import { Icon } from './icons';
import type { ShownMessage } from './messages';

/** The message that a component stands in. */
export function useShown(): ShownMessage {
  return useAuiState(({ message }) => message.metadata.custom.shown) as ShownMessage;
}

export function UserMessage() {
  const words = useWords();
  const { text, files, pictures } = useShown();
  const isLast = useIsLastQuestion();
  return (
    <MessagePrimitive.Root className="message user" aria-label={words.you} role="article">
      {pictures.map((id) => (
        <Picture key={id} id={id} name={null} />
      ))}
      {text && (
        <div className="bubble" dir="auto">
          {text}
        </div>
      )}
      {files.length > 0 && (
        <ul className="chips" aria-label={words.files}>
          {files.map((file) => (
            <li key={file.id || file.name} className="chip">
              <Icon name="file" />
              <FileName file={file} />
            </li>
          ))}
        </ul>
      )}
      {isLast && text && (
        <ActionBarPrimitive.Root className="actions" hideWhenRunning>
          <ActionBarPrimitive.Edit className="plain" aria-label={words.edit} title={words.edit}>
            <Icon name="edit" />
          </ActionBarPrimitive.Edit>
        </ActionBarPrimitive.Root>
      )}
    </MessagePrimitive.Root>
  );
}

export function EditQuestion() {
  const words = useWords();
  return (
    <ComposerPrimitive.Root className="message user editing">
      <ComposerPrimitive.Input className="input" dir="auto" autoFocus maxRows={10} aria-label={words.edit} />
      <div className="chips">
        <ComposerPrimitive.Cancel className="chip">{words.cancel}</ComposerPrimitive.Cancel>
        <ComposerPrimitive.Send className="chip accent">{words.save}</ComposerPrimitive.Send>
      </div>
    </ComposerPrimitive.Root>
  );
}

function useIsLastQuestion(): boolean {
  const { key } = useShown();
  const { messages } = useConversation();
  return messages.findLast(({ role }) => role === 'user')?.key === key;
}

/** Whether the component stands in the conversation's last message. */
export function useIsLast(): boolean {
  const { conversation } = useShared();
  const { key } = useShown();
  useConversation();
  return conversation.state.messages.at(-1)?.key === key;
}
