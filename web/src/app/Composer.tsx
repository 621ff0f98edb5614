// The box to write in, with the files of the next question.

import { AttachmentPrimitive, AuiIf, ComposerPrimitive, useAui, useAuiState } from '@assistant-ui/react';
import { useEffect, useRef } from 'react';
import { fill } from '../words';
import { useConversation, useShared, useWords } from './context';
import { UploadProgress } from './files';
import { keepFocus } from './focus';
import { Icon } from './icons';

export function Composer() {
  const words = useWords();
  const { appearance } = useShared();
  const input = useRef<HTMLTextAreaElement>(null);
  const isRunning = useAuiState(({ thread }) => thread.isRunning);
  useDraft(input, isRunning);
  useEffect(keepFocus, [isRunning]);
  return (
    <ComposerPrimitive.Root>
      <ComposerPrimitive.AttachmentDropzone className="composer" disabled={!appearance.uploads} data-hint={words.dropHere}>
        <ul className="attachments">
          <ComposerPrimitive.Attachments>{() => <Attachment />}</ComposerPrimitive.Attachments>
        </ul>
        <div className="line">
          {appearance.uploads && (
            <ComposerPrimitive.AddAttachment multiple className="round" aria-label={words.attach} title={words.attach}>
              <Icon name="attach" />
            </ComposerPrimitive.AddAttachment>
          )}
          <ComposerPrimitive.Input
            ref={input}
            autoFocus
            dir="auto"
            maxRows={8}
            className="input"
            placeholder={words.placeholder}
            aria-label={words.placeholder}
            unstable_insertNewlineOnTouchEnter
            // While an answer ends, Enter would be a new line in the next question.
            onKeyDown={(event) => event.key === 'Enter' && !event.shiftKey && isRunning && event.preventDefault()}
          />
          <SendOrStop />
        </div>
      </ComposerPrimitive.AttachmentDropzone>
    </ComposerPrimitive.Root>
  );
}

function SendOrStop() {
  const words = useWords();
  return (
    <>
      <AuiIf condition={({ thread }) => !thread.isRunning}>
        <ComposerPrimitive.Send className="round accent" aria-label={words.send} title={words.send}>
          <Icon name="send" />
        </ComposerPrimitive.Send>
      </AuiIf>
      <AuiIf condition={({ thread }) => thread.isRunning}>
        <ComposerPrimitive.Cancel className="round accent" aria-label={words.stop} title={words.stop}>
          <Icon name="stop" />
        </ComposerPrimitive.Cancel>
      </AuiIf>
    </>
  );
}

function Attachment() {
  const words = useWords();
  const { name, status } = useAuiState(({ attachment }) => attachment);
  const isUploading = status.type === 'running';
  const isBad = status.type === 'incomplete';
  return (
    <li>
      <AttachmentPrimitive.Root className="chip" data-state={isBad ? 'bad' : status.type}>
        <Icon name={isBad ? 'warning' : 'file'} />
        <span className="file-name" dir="auto">
          {name}
        </span>
        {isUploading && <UploadProgress name={name} percent={Math.round(status.progress)} />}
        <AttachmentPrimitive.Remove className="plain" aria-label={fill(words.removeFile, { name })}>
          <Icon name="close" />
        </AttachmentPrimitive.Remove>
      </AttachmentPrimitive.Root>
    </li>
  );
}

/** Puts the question of a failed turn back into the box, unless somebody has written there already, until it is asked again. */
function useDraft(input: React.RefObject<HTMLTextAreaElement | null>, isRunning: boolean): void {
  const { draft } = useConversation();
  const { conversation } = useShared();
  const aui = useAui();
  const put = useRef('');
  useEffect(() => {
    if (!draft) return;
    if (!aui.composer.getState().text) {
      aui.composer.setText(draft);
      put.current = draft;
      input.current?.select();
    }
    conversation.takeDraft();
  }, [draft, aui, conversation, input]);
  useEffect(() => {
    if (!isRunning) return;
    if (put.current && aui.composer.getState().text === put.current) aui.composer.setText('');
    put.current = '';
  }, [isRunning, aui]);
}
