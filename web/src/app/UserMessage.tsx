// A question: its words, its files, and a way to ask it differently.

import { ActionBarPrimitive, ComposerPrimitive, MessagePrimitive } from '@assistant-ui/react';
import { useEffect } from 'react';
import { useWords } from './context';
import { FileName, Picture, UploadProgress } from './files';
import { keepFocus } from './focus';
import { Icon } from './icons';
import { useIsLastQuestion, useShown } from './useShown';

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
