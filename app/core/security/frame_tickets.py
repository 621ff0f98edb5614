"""Frame tickets: which pages may frame the chat app, signed, in an address.

A ticket is a JWS (HS256, RFC 7515) with origins and an end. A browser asks for a frame before any script
could send a session, and addresses get into logs: so the frame's address has a ticket,
which opens nothing else.
"""

import hashlib
import hmac
from collections.abc import Sequence

import jwt

MAX_TICKET_CHARS = 2_048
_TYPE = "soloist-frame"
_ALGORITHM = "HS256"
_PURPOSE = b"soloist frame v1"


class FrameTickets:
    """Mints and reads frame tickets; the first key signs, all verify."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        # Derived keys, so that no ticket is valid as a session, and no session as a ticket.
        self._keys = [hmac.digest(key, _PURPOSE, hashlib.sha256) for key in keys]

    def mint(self, origins: Sequence[str], expires_at: int) -> str | None:
        """Return a ticket for these origins; None for no origins, or for too many to stand in an address."""
        if not origins:
            return None
        claims = {"origins": list(origins), "exp": expires_at}
        ticket = jwt.encode(claims, self._keys[0], _ALGORITHM, headers={"typ": _TYPE})
        return ticket if len(ticket) <= MAX_TICKET_CHARS else None

    def read(self, ticket: str) -> list[str]:
        """Return a ticket's origins; none for one that is forged, broken, over or too long."""
        for key in self._keys if len(ticket) <= MAX_TICKET_CHARS else ():
            try:
                found = jwt.decode_complete(
                    ticket, key, algorithms=[_ALGORITHM], options={"require": ["exp", "origins"]}
                )
            except jwt.PyJWTError:
                continue  # the next key may be the one that signed it
            if found["header"].get("typ") == _TYPE:
                return [str(origin) for origin in found["payload"]["origins"]]
        return []
