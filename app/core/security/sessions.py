"""Browser sessions: short-lived signed tokens, minted by a backend for its users' pages.

A token is a JWS behind the prefix `ss_`. Nothing is stored, so a single token cannot be
revoked: it lives for minutes, ends with the API key that minted it, and new `SECRET_KEYS` end all tokens.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from app.core.errors import UnauthorizedError
from app.core.security.frame_tickets import FrameTickets
from app.core.security.signed_tokens import SignedTokens
from app.models.sessions import SESSION_PREFIX


@dataclass(frozen=True, slots=True)
class Session:
    """The content of a session token; times are unix seconds."""

    key_name: str
    user: str
    expires_at: int
    origins: tuple[str, ...] = ()
    thread_id: str | None = None
    chat_limit: str | None = None
    budget_tokens: int | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


class SessionTokens:
    """Mints and reads session tokens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._tokens = SignedTokens(keys, b"soloist session v1", "soloist-session", ("exp", "sub", "jti"))
        self.frames = FrameTickets(keys)

    def mint(self, session: Session) -> str:
        """Return a new token for a session."""
        claims = {
            "jti": secrets.token_urlsafe(12),
            "iat": int(time.time()),
            "exp": session.expires_at,
            "sub": session.user,
            "key": session.key_name,
            "origins": list(session.origins),
            "thread": session.thread_id,
            "limit": session.chat_limit,
            "budget": session.budget_tokens,
            "claims": dict(session.claims),
            # For the page that holds the token, to put into the address of the frame.
            "frame": self.frames.mint(session.origins, session.expires_at),
        }
        return SESSION_PREFIX + self._tokens.sign(claims)

    def read(self, token: str) -> Session:
        """Return a token's session; raises `UnauthorizedError` for a forged, broken or expired one."""
        try:
            return _session(self._tokens.open(token.removeprefix(SESSION_PREFIX)))
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError(
                "The session is over. Ask your backend for a new one.", code="session_expired"
            ) from None
        except jwt.PyJWTError:
            raise UnauthorizedError(
                "The session token is not valid. Ask your backend for a new one.", code="invalid_session"
            ) from None


def _session(claims: dict[str, Any]) -> Session:
    return Session(
        key_name=claims["key"],
        user=claims["sub"],
        expires_at=int(claims["exp"]),
        origins=tuple(claims["origins"]),
        thread_id=claims["thread"],
        chat_limit=claims["limit"],
        # Tokens from before have neither.
        budget_tokens=claims.get("budget"),
        claims=claims.get("claims") or {},
    )
