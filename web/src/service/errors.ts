/** A call that failed. `code` is the service's own, or one of ours: `offline`, `unreachable`, `no_session`, `lost`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string | null,
    /** The service's sentence, in English; empty for ours. */
    message = '',
  ) {
    super(message);
  }
}

/** Whether the thread itself is no more; a file or a message of it may be missing too. */
export function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.code === 'thread_not_found';
}

/** Whether the same request may succeed a little later. */
export function isPassing(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 0 || error.status >= 500);
}

/** The error of a request that got no answer: the browser knows only whether it has a network at all. */
export function unanswered(): ApiError {
  return new ApiError(0, navigator.onLine ? 'unreachable' : 'offline');
}

/** Tells a developer of missing CORS headers, which the browser hides from scripts. */
export async function hintAtCors(url: string, remedy: string): Promise<void> {
  if (new URL(url, location.href).origin === location.origin) return;
  try {
    await fetch(url, { mode: 'no-cors', method: 'GET', credentials: 'omit' });
  } catch {
    return;
  }
  console.error(`Soloist: ${new URL(url, location.href).origin} answers, but not to pages of ${location.origin}. ${remedy}`);
}

export function codeOf(error: unknown): string | null {
  return error instanceof ApiError ? error.code : null;
}

export function statusCode(error: unknown): number | null {
  return error instanceof ApiError ? error.status : null;
}
