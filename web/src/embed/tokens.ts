// Session tokens from the host's own backend, and the frame's ticket that is inside of them.

import type { Session } from '../protocol';

const REFRESH_BEFORE_MS = 30_000;
const LONGEST_WAIT_MS = 15_000;

/** The host's backend gave no session; `status` is that of its answer, 0 if it could not be reached. */
export class NoToken extends Error {
  constructor(readonly status: number) {
    super('no session');
  }
}

/** Fetches a session, and a new one before the old one ends. */
export class TokenSource {
  #session: Session | null = null;
  #pending: Promise<Session> | null = null;
  #lifetime = Infinity;

  readonly #address: string;

  constructor(readonly url: string) {
    // Navigation by script may change what a relative address means.
    this.#address = URL.canParse(url, document.baseURI) ? new URL(url, document.baseURI).href : url;
  }

  forget(): void {
    this.#session = null;
  }

  /** The session that is good now; raises NoToken. */
  async session(): Promise<Session> {
    // A token that lives shorter than the margin is still good for most of its life.
    const margin = Math.min(REFRESH_BEFORE_MS, this.#lifetime / 4);
    if (this.#session && Date.now() < this.#session.expires_at * 1000 - margin) return this.#session;
    this.#pending ??= this.#fetch().finally(() => (this.#pending = null));
    this.#session = await this.#pending;
    this.#lifetime = this.#session.expires_at * 1000 - Date.now();
    return this.#session;
  }

  async #fetch(): Promise<Session> {
    let response: Response;
    try {
      response = await fetch(this.#address, {
        method: 'POST',
        credentials: 'include',
        headers: { accept: 'application/json' },
        signal: AbortSignal.timeout(LONGEST_WAIT_MS),
      });
    } catch {
      throw new NoToken(0);
    }
    const answer = (await response.json().catch(() => null)) as Partial<Session> | null;
    if (!response.ok || typeof answer?.client_secret !== 'string') throw new NoToken(response.status);
    return { client_secret: answer.client_secret, expires_at: Number(answer.expires_at) || 0 };
  }
}

/** The claim `frame` of a session token, which lets the service's page stand in a frame of the session's origins. */
export function ticketOf(token: string): string | null {
  try {
    const payload = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/');
    const { frame } = JSON.parse(atob(payload)) as { frame?: unknown };
    return typeof frame === 'string' ? frame : null;
  } catch {
    return null;
  }
}
