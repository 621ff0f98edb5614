export default function Answer({ text }: { text: string; isStreaming: boolean; sources: unknown; onSource: (n: number) => void; words: unknown }) {
  return <p className="raw">{text}</p>;
}
