// The frame's ticket, which stands in a session token.

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
