"""Browser sessions: short signed tokens that a page may hold, minted by the backend that knows its user.

A token is a JWS (HS256, RFC 7515) behind the prefix `ss_`. Nothing is stored, so none can be called back by
itself: they live for minutes, they end with the API key that minted them, and new `SECRET_KEYS` end them all.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from app.core.errors import UnauthorizedError
from app.models.sessions import SESSION_PREFIX

_TYPE = "soloist-session"
_ALGORITHM = "HS256"
_PURPOSE = b"soloist session v1"


@dataclass(frozen=True, slots=True)
class Session:
    """What a session token says; times are unix seconds."""

    key_name: str
    user: str
    expires_at: int
    origins: tuple[str, ...] = ()
    thread_id: str | None = None
    chat_limit: str | None = None
    session_id: str = ""


class SessionTokens:
    """Mints and reads session tokens; the first key signs, all verify."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        # A key of its own kind, so that no other signature made with the secret can pass for a session.
        self._keys = [hmac.digest(key, _PURPOSE, hashlib.sha256) for key in keys]

    def mint(self, session: Session) -> str:
        """Return the token of a session, which gets a new id."""
        claims = {
            "jti": secrets.token_urlsafe(12),
            "iat": int(time.time()),
            "exp": session.expires_at,
            "sub": session.user,
            "key": session.key_name,
            "origins": list(session.origins),
            "thread": session.thread_id,
            "limit": session.chat_limit,
        }
        return SESSION_PREFIX + jwt.encode(claims, self._keys[0], _ALGORITHM, headers={"typ": _TYPE})

    def read(self, token: str) -> Session:
        """Return what a token says; raises `UnauthorizedError` for one that is forged, broken or over."""
        for key in self._keys:
            try:
                found = jwt.decode_complete(
                    token.removeprefix(SESSION_PREFIX),
                    key,
                    algorithms=[_ALGORITHM],
                    options={"require": ["exp", "sub", "jti"]},
                )
            except jwt.ExpiredSignatureError:
                raise UnauthorizedError(
                    "The session is over. Ask your backend for a new one.", code="session_expired"
                ) from None
            except jwt.PyJWTError:
                continue
            if found["header"].get("typ") == _TYPE:
                return _session(found["payload"])
        raise UnauthorizedError(
            "The session token is not valid. Ask your backend for a new one.", code="invalid_session"
        )


def _session(claims: dict[str, Any]) -> Session:
    return Session(
        key_name=claims["key"],
        user=claims["sub"],
        expires_at=int(claims["exp"]),
        origins=tuple(claims["origins"]),
        thread_id=claims["thread"],
        chat_limit=claims["limit"],
        session_id=claims["jti"],
    )
