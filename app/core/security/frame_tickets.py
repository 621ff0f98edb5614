"""Frame tickets: which pages may frame the chat app, signed, in an address.

A ticket holds origins and an end. A browser asks for a frame before any script could send a session, and
addresses get into logs: so the frame's address has a ticket, which opens nothing else.
"""

from collections.abc import Sequence

import jwt

from app.core.security.signed_tokens import SignedTokens

MAX_TICKET_CHARS = 2_048


class FrameTickets:
    """Mints and reads frame tickets."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._tokens = SignedTokens(keys, b"soloist frame v1", "soloist-frame", ("exp", "origins"))

    def mint(self, origins: Sequence[str], expires_at: int) -> str | None:
        """Return a ticket for these origins; None for no origins, or for too many to stand in an address."""
        if not origins:
            return None
        ticket = self._tokens.sign({"origins": list(origins), "exp": expires_at})
        return ticket if len(ticket) <= MAX_TICKET_CHARS else None

    def read(self, ticket: str) -> list[str]:
        """Return a ticket's origins; none for one that is forged, broken, over or too long."""
        if len(ticket) > MAX_TICKET_CHARS:
            return []
        try:
            return [str(origin) for origin in self._tokens.open(ticket)["origins"]]
        except jwt.PyJWTError:
            return []
