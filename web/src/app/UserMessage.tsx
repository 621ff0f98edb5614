// A question: its words, its files, and a way to ask it differently.

import { ActionBarPrimitive, type Attachment, ComposerPrimitive, MessagePrimitive, useAuiState } from '@assistant-ui/react';
import { useEffect, useMemo } from 'react';
import { useConversation, useShared, useWords } from './context';
import { FileName, Picture, UploadProgress } from './files';
import { keepFocus } from './focus';
import { Icon } from './icons';
import { question, type ShownFile, type ShownMessage } from './messages';

/** The message that a component stands in: ours, or a question whose files are still going up. */
export function useShown(): ShownMessage {
  const shown = useAuiState(({ message }) => message.metadata.custom.shown) as ShownMessage | undefined;
  const waiting = useAuiState(({ message }) => message.submission);
  return useMemo(() => shown ?? question(waiting?.text ?? '', (waiting?.attachments ?? []).map(uploading)), [shown, waiting]);
}

function uploading({ name, status }: Attachment): ShownFile {
  return { id: '', name, uploaded: status.type === 'running' ? Math.round(status.progress) : 100 };
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
              {file.uploaded !== undefined && <UploadProgress name={file.name ?? ''} percent={file.uploaded} />}
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
  useEffect(() => keepFocus, []);
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
