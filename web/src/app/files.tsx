// Files of messages: names in the place of ids, pictures from memory, downloads with the session.

import { type ReactNode, useEffect, useState } from 'react';
import { fill } from '../words';
import { useSentence, useShared, useWords } from './context';
import { Icon } from './icons';
import type { ShownFile } from './shown';

export function FileName({ file }: { file: ShownFile }) {
  const words = useWords();
  const { api } = useShared();
  const [name, setName] = useState(file.name);
  useEffect(() => {
    if (!file.name) api.fileName(file.id).then(setName, () => setName(words.file));
  }, [api, file, words]);
  return (
    <span className="file-name" dir="auto">
      {name ?? '…'}
    </span>
  );
}

export function UploadProgress({ name, percent }: { name: string; percent: number }) {
  const words = useWords();
  return <progress max={100} value={percent} aria-label={fill(words.uploadingFile, { name, percent })} />;
}

/** A picture, fetched with the token that an `<img>` could not send. A file that is gone shows nothing. */
export function Picture({ id, name }: { id: string; name: string | null }) {
  const words = useWords();
  const { api } = useShared();
  const [image, setImage] = useState<HTMLImageElement | null>(null);
  useEffect(() => {
    const made = new Image();
    let isGone = false;
    const load = async () => {
      const blob = await api.fileContent(id);
      if (isGone || !blob.type.startsWith('image/')) return;
      made.src = URL.createObjectURL(blob);
      // Its size must be known when it is inserted: the thread follows no growth that comes later.
      await made.decode();
      if (!isGone) setImage(made);
    };
    load().catch(() => undefined);
    return () => {
      isGone = true;
      if (made.src) URL.revokeObjectURL(made.src);
    };
  }, [api, id]);
  if (!image) return null;
  return (
    <figure className="picture">
      <img src={image.src} width={image.naturalWidth} height={image.naturalHeight} alt={name ?? words.picture} />
      {name && (
        <figcaption>
          <Download id={id} name={name} />
        </figcaption>
      )}
    </figure>
  );
}

export function Download({ id, name }: { id: string; name: string }) {
  const words = useWords();
  const { api } = useShared();
  const [start, complaint] = useSaving(() => api.fileContent(id), name);
  return (
    <>
      <button type="button" className="chip" aria-label={fill(words.download, { name })} onClick={start}>
        <Icon name="download" />
        <span className="file-name">{name}</span>
      </button>
      {complaint}
    </>
  );
}

/** What fetches a file and saves it, and why it could not. */
export function useSaving(fetchFile: () => Promise<Blob>, name: string): [() => void, ReactNode] {
  const say = useSentence();
  const [problem, setProblem] = useState('');
  const start = () =>
    void fetchFile().then(
      (blob) => {
        setProblem('');
        save(blob, name);
      },
      (error: unknown) => setProblem(say(error)),
    );
  const complaint = problem && (
    <span className="complaint" role="alert">
      {problem}
    </span>
  );
  return [start, complaint];
}

/** Saves a file through the browser. */
function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
