// Files for the next question: checked and uploaded as soon as they are attached.

import type { AttachmentAdapter, PendingAttachment } from '@assistant-ui/react';
import type { Api } from '../service/api';
import { fill, sentence, type Language } from '../words';
import type { Config } from './config';
import type { Upload } from '../service/memory';

/** Uploads a composer's files; what is wrong with one is said, and that file alone is left out. */
export class Uploads implements AttachmentAdapter {
  /** Types are checked here, where the name of a refused file is known. */
  readonly accept = '*';
  private readonly running = new Map<string, AbortController>();
  private readonly done = new Map<string, Upload>();
  private made = 0;

  constructor(
    private readonly api: Api,
    private readonly limits: Config['files'],
    private readonly language: Language,
    private readonly complain: (text: string) => void,
  ) {}

  async *add({ file }: { file: File }): AsyncGenerator<PendingAttachment, void> {
    const problem = this.problemOf(file);
    if (problem) throw this.refusal(problem);
    const id = `file-${++this.made}`;
    const isImage = file.type.startsWith('image/');
    const base = { id, type: isImage ? ('image' as const) : ('document' as const), name: file.name, contentType: file.type, file };
    const stop = new AbortController();
    this.running.set(id, stop);
    const progress = new Progress();
    const upload = this.api.upload(file, (share) => progress.tell(share), stop.signal).finally(() => progress.end());
    upload.catch(() => undefined);
    for await (const share of progress) {
      yield { ...base, status: { type: 'running', reason: 'uploading', progress: share * 100 } };
    }
    try {
      this.done.set(id, { id: await upload, name: file.name, isImage });
      yield { ...base, status: { type: 'requires-action', reason: 'composer-send' } };
    } catch (error) {
      if (stop.signal.aborted) return;
      const reason = sentence(this.language.failures, error);
      throw this.refusal(fill(this.language.words.uploadFailed, { name: file.name, reason }));
    } finally {
      this.running.delete(id);
    }
  }

  async remove({ id }: { id: string }): Promise<void> {
    this.running.get(id)?.abort();
    this.done.delete(id);
  }

  async send(attachment: PendingAttachment) {
    return { ...attachment, status: { type: 'complete' as const }, content: [] };
  }

  /** The uploaded files behind a message's attachments, which go with that message alone. */
  take(ids: string[]): Upload[] {
    const taken = ids.flatMap((id) => this.done.get(id) ?? []);
    for (const id of ids) this.done.delete(id);
    return taken;
  }

  private problemOf(file: File): string | null {
    const { words } = this.language;
    const { max_bytes: most, max_files: many, extensions } = this.limits;
    const extension = file.name.slice(file.name.lastIndexOf('.')).toLowerCase();
    if (this.running.size + this.done.size >= many) return fill(words.fileTooMany, { limit: many });
    if (extensions.length && !extensions.includes(extension)) return fill(words.fileType, { name: file.name });
    if (file.size > most) return fill(words.fileTooLarge, { name: file.name, limit: readableSize(most) });
    return file.size ? null : fill(words.fileEmpty, { name: file.name });
  }

  private refusal(text: string): Error {
    this.complain(text);
    return new Error(text);
  }
}

/** The newest share of an upload, each time that it changes. */
class Progress {
  private share = 0;
  private isOver = false;
  private wake: () => void = () => undefined;

  tell(share: number): void {
    this.share = share;
    this.wake();
  }

  end(): void {
    this.isOver = true;
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number, void> {
    while (!this.isOver) {
      yield this.share;
      if (!this.isOver) await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

function readableSize(bytes: number): string {
  const [unit, size] = bytes >= 1 << 20 ? (['megabyte', bytes / (1 << 20)] as const) : (['kilobyte', bytes / 1024] as const);
  return Intl.NumberFormat(undefined, { style: 'unit', unit, maximumFractionDigits: 0 }).format(size);
}
