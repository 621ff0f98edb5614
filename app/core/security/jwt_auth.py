"""JWTs of the operator's identity provider: one issuer, one audience, fixed algorithms."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import aiohttp
import jwt
import orjson
import structlog

from app.core.config import Settings
from app.core.errors import IdentityProviderError, UnauthorizedError

_log = structlog.get_logger(__name__)
_FRESH_SECONDS = 600.0
_RETRY_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 262_144


class KeySet:
    """The provider's public keys (JWKS, RFC 7517), cached for ten minutes.

    An unknown `kid` fetches them again, but at most every ten seconds, as strangers can send any `kid`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._lock = asyncio.Lock()
        self._tried_at = self._fetched_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        """Return a key by its `kid`, or None. Raises `IdentityProviderError` if no key could be fetched."""
        if kid not in self._keys:
            await self._fetch()
        elif time.monotonic() - self._fetched_at > _FRESH_SECONDS and (
            self._refresh is None or self._refresh.done()
        ):
            # In the background, so that a slow provider delays nobody whose key is known.
            self._refresh = asyncio.create_task(self._fetch_quietly())
        return self._keys.get(kid)

    async def aclose(self) -> None:
        """Stop fetching."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)

    async def _fetch_quietly(self) -> None:
        with suppress(IdentityProviderError):
            await self._fetch()

    async def _fetch(self) -> None:
        async with self._lock:
            if time.monotonic() - self._tried_at < _RETRY_SECONDS:
                return
            self._tried_at = time.monotonic()
            try:
                self._keys = _usable(await _downloaded(self._url))
            except (aiohttp.ClientError, TimeoutError, ValueError, jwt.PyJWTError) as exc:
                _log.warning("jwks_not_fetched", error=type(exc).__name__)
                # With no key at all the next token must not wait ten seconds for a new try.
                if not self._keys:
                    self._tried_at = float("-inf")
                    raise IdentityProviderError from exc
                return
            self._fetched_at = self._tried_at


async def _downloaded(url: str) -> Any:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise ValueError("the key set's address does not answer 200")
        body = await answer.content.read(_MAX_BYTES)
        while not answer.content.at_eof() and len(body) < _MAX_BYTES:
            body += await answer.content.read(_MAX_BYTES - len(body))
        return orjson.loads(body)


def _usable(found: Any) -> dict[str | None, jwt.PyJWK]:
    listed = jwt.PyJWKSet.from_dict(found if isinstance(found, dict) else {}).keys
    keys: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in listed}
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


class JwtVerifier:
    """Verifies tokens with `JWT_SECRET` or the keys at `JWT_JWKS_URL`."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        self._keys = KeySet(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
        self._algorithms = settings.jwt_algorithms or (["HS256"] if self._secret else ["RS256", "ES256"])
        self._issuer = settings.jwt_issuer or ""
        self._audience = settings.jwt_audience or ""
        self._leeway = settings.jwt_leeway_seconds

    async def verify(self, token: str) -> tuple[str, float, dict[str, Any]]:
        """Return a token's subject, its expiry in unix seconds and its claims; raises `UnauthorizedError`."""
        try:
            header = jwt.get_unverified_header(token)
            # Checked first, so that a token with another algorithm makes nobody fetch keys.
            if header.get("alg") not in self._algorithms:
                raise _refused()
            key = await self._keys.find(header.get("kid")) if self._keys else self._secret
            if key is None:
                raise _refused()
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self._algorithms),
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The token has expired. Sign in again.", code="token_expired") from None
        except jwt.PyJWTError:
            raise _refused() from None
        subject = claims["sub"]
        if not subject:
            raise _refused()
        return f"{self._issuer}/{subject}", float(claims["exp"]) + self._leeway, claims

    async def aclose(self) -> None:
        """Stop fetching keys."""
        if self._keys:
            await self._keys.aclose()


def _refused() -> UnauthorizedError:
    return UnauthorizedError("The token is not valid here. Sign in again.", code="invalid_token")
