// Where session tokens come from: the page's own backend, or the launcher on the host page.

import type { Session } from '../protocol';
import { ApiError, hintAtCors, unanswered } from './errors';

export interface Tokens {
  /** A token; a new one if `isRenewal`, null where none is needed. Raises `ApiError`. */
  token(isRenewal?: boolean): Promise<string | null>;
}

export const NO_TOKENS: Tokens = { token: async () => null };

const REFRESH_BEFORE_MS = 30_000;
const CORS_REMEDY = 'Its answer needs Access-Control-Allow-Origin and -Credentials for this page.';

/** Keeps a session until shortly before it ends. */
export class KeptTokens implements Tokens {
  private session: Session | null = null;
  private refreshAt = 0;
  private pending: Promise<Session> | null = null;

  constructor(private readonly source: (isRenewal: boolean) => Promise<Session>) {}

  async token(isRenewal = false): Promise<string> {
    if (this.session && !isRenewal && Date.now() < this.refreshAt) return this.session.client_secret;
    this.pending ??= this.source(isRenewal).finally(() => (this.pending = null));
    const session = await this.pending;
    const life = session.expires_at * 1000 - Date.now();
    // A token that lives shorter than the margin is still good for most of its life.
    this.refreshAt = session.expires_at * 1000 - Math.min(REFRESH_BEFORE_MS, life / 4);
    this.session = session;
    return session.client_secret;
  }
}

/** Asks the page's backend for a session. Raises `ApiError` with the code `no_session` where it gives none. */
export async function sessionFrom(url: string): Promise<Session> {
  const init = { method: 'POST', credentials: 'include', headers: { accept: 'application/json' } } as const;
  const response = await fetch(url, init).catch(() => null);
  if (!response) {
    void hintAtCors(url, CORS_REMEDY);
    throw unanswered();
  }
  const session = (await response.json().catch(() => null)) as Session | null;
  if (!response.ok || typeof session?.client_secret !== 'string') throw new ApiError(response.status, 'no_session');
  return session;
}
