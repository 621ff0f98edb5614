"""Credentials for tests of who may do what; every secret here is made up."""

import time
from typing import Any

import httpx2
import jwt

from app.core.security.sessions import Session, SessionTokens
from app.models.sessions import SESSION_PREFIX
from tests.support import Service

SECRET = "first-secret-of-more-than-32-characters"
OLD_SECRET = "other-secret-of-more-than-32-characters"
KEY_A = "key-of-backend-a-0123456789"
KEY_B = "key-of-backend-b-0123456789"
PAGE = "https://page.example"

GUARDED: dict[str, Any] = {
    "auth_mode": "api_key",
    "api_keys": {"a": KEY_A, "b": KEY_B},
    "secret_keys": [SECRET],
}


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }


async def mint(client: httpx2.AsyncClient, user: str = "u1", key: str = KEY_A, **body: Any) -> str:
    """A session token for a user of a backend."""
    response = await client.post("sessions", json={"user": user, **body}, headers=bearer(key))
    assert response.status_code == 200, response.text
    token: str = response.json()["client_secret"]
    return token


def made_session(*, secret: str = SECRET, seconds: float = 60, **changes: Any) -> str:
    """A session token that no route has minted: with another secret, or over already."""
    defaults: dict[str, Any] = {"key_name": "a", "user": "u1", "expires_at": int(time.time() + seconds)}
    return SessionTokens([secret.encode()]).mint(Session(**(defaults | changes)))


def unsigned_session() -> str:
    claims = {"sub": "u1", "key": "a", "jti": "x", "exp": int(time.time()) + 60, "origins": []}
    return SESSION_PREFIX + jwt.encode(claims, "", algorithm="none", headers={"typ": "soloist-session"})


async def new_thread_of(service: Service, headers: dict[str, str]) -> str:
    """A thread of whoever these headers name; its id."""
    response = await service.client.post("threads", headers=headers)
    assert response.status_code == 200, response.text
    thread_id: str = response.json()["id"]
    return thread_id
