// What deep-chat hands over, and how text that arrives in pieces reaches its screen.

/** Shows the newest text once a frame: a fast model sends more pieces than a screen can show. */
export class Frame {
  private latest: string | null = null;
  private isDue = false;

  constructor(private readonly render: (text: string) => Promise<void>) {}

  show(text: string): void {
    this.latest = text;
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => void this.flush());
  }

  async flush(): Promise<void> {
    this.isDue = false;
    const text = this.latest;
    this.latest = null;
    if (text !== null) await this.render(text);
  }
}

export function questionOf(body: unknown): { text: string; files: File[] } {
  if (body instanceof FormData) {
    const files = body.getAll('files').filter((value) => value instanceof File);
    const message = body.get('message1');
    return { text: typeof message === 'string' ? (JSON.parse(message).text ?? '') : '', files };
  }
  const messages = (body as { messages?: { text?: string }[] }).messages ?? [];
  return { text: messages.at(-1)?.text ?? '', files: [] };
}
