// The iframe with the service's page, and the port over which the chat in it and the page around it talk.

import { type Connect, type HostEvent, type Session, type Settings, type ToApp, type ToHost, VERSION } from '../protocol';
import { ApiError } from '../service/errors';
import type { BrowserStorage } from '../service/storage';
import type { KeptTokens } from '../service/tokens';

/** How long the page may take, and how long its script after the page has been loaded. */
const LONGEST_LOAD_MS = 20_000;
const LONGEST_SILENCE_MS = 4_000;

const EVENTS: HostEvent[] = ['thread', 'question', 'answer', 'error', 'tokens'];

export interface FrameListener {
  /** Asked for at each handshake; a frame that reloads itself shakes hands again. */
  settings(): Settings;
  onConnected(): void;
  onReady(): void;
  onClose(): void;
  onUnread(count: number): void;
  onEvent(name: HostEvent, detail: unknown): void;
  /** The page did not load, or is not ours: a policy of the service or of the host keeps it away. */
  onSilent(): void;
}

export class Frame {
  readonly element = document.createElement('iframe');
  /** Whether the composer can be used. */
  isReady = false;

  /** Whether it was given up; a late answer is welcome all the same. */
  isSilent = false;

  readonly #origin: string;
  #port: MessagePort | null = null;
  #loads = 0;
  #hellos = 0;
  #timer: number;
  readonly #unwatch: () => void;

  constructor(
    page: URL,
    title: string,
    private readonly tokens: KeptTokens | null,
    private readonly memory: BrowserStorage,
    private readonly listener: FrameListener,
  ) {
    this.#origin = page.origin;
    this.element.title = title;
    this.element.allow = 'clipboard-write';
    this.element.referrerPolicy = 'no-referrer';
    this.element.src = page.href;
    this.element.addEventListener('load', this.#loaded);
    this.#timer = setTimeout(this.#giveUp, LONGEST_LOAD_MS);
    window.addEventListener('message', this.#shakeHands);
    this.#unwatch = memory.watch((key, value) => this.send({ type: 'remembered', key, value }));
  }

  send(message: ToApp): void {
    this.#port?.postMessage(message);
  }

  /** The element may be taken out only afterwards. */
  end(): void {
    this.#unwatch();
    clearTimeout(this.#timer);
    window.removeEventListener('message', this.#shakeHands);
    this.#port?.close();
    this.element.remove();
  }

  /** Each page that loads in the frame says hello, before or after; one that is refused, at a reload too, does not. */
  readonly #loaded = (): void => {
    this.#loads += 1;
    if (this.#hellos >= this.#loads || this.isSilent) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#giveUp, LONGEST_SILENCE_MS);
  };

  readonly #giveUp = (): void => {
    this.isSilent = true;
    this.listener.onSilent();
  };

  readonly #shakeHands = ({ data, origin, source }: MessageEvent): void => {
    const app = this.element.contentWindow;
    if (!app || source !== app || origin !== this.#origin || data?.soloist !== 'hello') return;
    clearTimeout(this.#timer);
    this.#hellos += 1;
    this.#port?.close();
    this.isReady = this.isSilent = false;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = (event: MessageEvent<ToHost>) => void this.#hear(event.data);
    const answer: Connect = { soloist: 'connect', version: VERSION };
    app.postMessage(answer, this.#origin, [port2]);
    this.send({ type: 'setup', settings: this.listener.settings() });
    this.listener.onConnected();
  };

  async #hear(message: ToHost): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.isReady = true;
        return this.listener.onReady();
      case 'close':
        return this.listener.onClose();
      case 'unread':
        return this.listener.onUnread(Math.max(0, Math.trunc(Number(message.count)) || 0));
      case 'event':
        if (EVENTS.includes(message.name)) this.listener.onEvent(message.name, message.detail);
        return;
      case 'remember':
        return this.memory.write(message.key, message.value);
      case 'token':
        return this.#answerToken(message.id, message.isRenewal);
    }
  }

  async #answerToken(id: number, isRenewal: boolean): Promise<void> {
    const port = this.#port;
    let answer: ToApp;
    try {
      const session: Session | undefined = await this.tokens?.session(isRenewal);
      answer = session ? { type: 'token', id, session } : { type: 'no-token', id, status: 0 };
    } catch (error) {
      answer = { type: 'no-token', id, status: error instanceof ApiError ? error.status : 0 };
    }
    port?.postMessage(answer);
  }
}
