// Session tokens, from the page's own backend.

import type { Session } from '../protocol';
import { ApiError, hintAtCors, unanswered } from './errors';

export interface Tokens {
  /** A token; a new one if `isRenewal`, null where none is needed. Raises `ApiError`. */
  token(isRenewal?: boolean): Promise<string | null>;
}

export const NO_TOKENS: Tokens = { token: async () => null };

const REFRESH_BEFORE_MS = 30_000;
const LONGEST_WAIT_MS = 15_000;
const CORS_REMEDY = 'Its answer needs Access-Control-Allow-Origin and -Credentials for this page.';

/** Keeps a session until shortly before it ends. */
export class KeptTokens implements Tokens {
  private kept: Session | null = null;
  private refreshAt = 0;
  private pending: Promise<Session> | null = null;

  constructor(private readonly source: () => Promise<Session>) {}

  async token(isRenewal = false): Promise<string> {
    return (await this.session(isRenewal)).client_secret;
  }

  /** The session that is good now; raises `ApiError`. */
  async session(isRenewal = false): Promise<Session> {
    if (this.kept && !isRenewal && Date.now() < this.refreshAt) return this.kept;
    this.pending ??= this.source().finally(() => (this.pending = null));
    const session = await this.pending;
    const life = session.expires_at * 1000 - Date.now();
    // A token that lives shorter than the margin is still good for most of its life.
    this.refreshAt = session.expires_at * 1000 - Math.min(REFRESH_BEFORE_MS, life / 4);
    return (this.kept = session);
  }
}

/** Asks the page's backend for a session. Raises `ApiError` with the code `no_session` where it gives none. */
export async function sessionFrom(url: string): Promise<Session> {
  const init = { method: 'POST', credentials: 'include', headers: { accept: 'application/json' } } as const;
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(LONGEST_WAIT_MS) }).catch(() => null);
  if (!response) {
    void hintAtCors(url, CORS_REMEDY);
    throw unanswered();
  }
  const answer = (await response.json().catch(() => null)) as Partial<Session> | null;
  if (!response.ok || typeof answer?.client_secret !== 'string') throw new ApiError(response.status, 'no_session');
  return { client_secret: answer.client_secret, expires_at: Number(answer.expires_at) || 0 };
}
