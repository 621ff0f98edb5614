// The app's side of the channel to the launcher on the host page.

import { type Connect, type Hello, type Session, type Settings, type ToApp, type ToHost, VERSION } from '../protocol';
import { ApiError } from '../service/errors';

type Setup = Extract<ToApp, { type: 'setup' }>;

/** A connected launcher. */
export class Host {
  private readonly asked = new Map<number, { resolve: (session: Session) => void; reject: (error: ApiError) => void }>();
  private readonly handlers = new Map<string, (message: ToApp) => void>();
  private lastId = 0;

  private constructor(
    private readonly port: MessagePort,
    /** The origin of the host page, as the browser tells it. */
    readonly origin: string,
    readonly settings: Settings,
  ) {
    port.onmessage = ({ data }: MessageEvent<ToApp>) => this.take(data);
    this.on('token', ({ id, session }) => this.asked.get(id)?.resolve(session));
    this.on('no-token', ({ id, status }) => this.asked.get(id)?.reject(new ApiError(status, status ? 'no_session' : 'unreachable')));
  }

  /** Says hello to the page around, and waits for its launcher. */
  static connect(): Promise<Host> {
    return new Promise((resolve) => {
      addEventListener('message', function answered({ source, data, origin, ports }: MessageEvent<Connect>) {
        const [port] = ports;
        if (source !== parent || data?.soloist !== 'connect' || !port) return;
        removeEventListener('message', answered);
        port.onmessage = ({ data: setup }: MessageEvent<Setup>) => {
          if (setup.type === 'setup') resolve(new Host(port, origin, setup.settings));
        };
      });
      // Whoever frames the page may know that it is there; what is secret goes over the port alone.
      parent.postMessage({ soloist: 'hello', version: VERSION } satisfies Hello, '*');
    });
  }

  on<T extends ToApp['type']>(type: T, handler: (message: Extract<ToApp, { type: T }>) => void): void {
    this.handlers.set(type, handler as (message: ToApp) => void);
  }

  send(message: ToHost): void {
    this.port.postMessage(message);
  }

  /** Asks the launcher for a session. Raises `ApiError`. */
  session(isRenewal: boolean): Promise<Session> {
    const id = ++this.lastId;
    this.send({ type: 'token', id, isRenewal });
    const answered = new Promise<Session>((resolve, reject) => this.asked.set(id, { resolve, reject }));
    return answered.finally(() => this.asked.delete(id));
  }

  private take(message: ToApp): void {
    this.handlers.get(message.type)?.(message);
  }
}
