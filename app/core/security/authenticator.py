"""Authentication of callers by API key, browser session or JWT, or of anyone with AUTH_MODE=none."""

import hashlib
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from app.core.caller import Caller, RequestScope, owner_hash
from app.core.config import Settings
from app.core.errors import ForbiddenError, UnauthorizedError
from app.core.limits.rate_limit import AttemptLimit
from app.core.security.credentials import Credentials, checked_user
from app.core.security.jwt_auth import JwtVerifier
from app.core.security.sessions import Session, SessionTokens
from app.models.sessions import SESSION_PREFIX
from app.utils.hosts import browser_origin, is_loopback, with_path
from app.utils.ids import IdCodec

if TYPE_CHECKING:
    from app.core.own_conversations.choice import ConversationChoice

_log = structlog.get_logger("soloist")
_REMEMBERED = 10_000
_SHORT_KEY_CHARS = 20
_MAX_TOKEN_CHARS = 8_192
# JWTs are verified again after so long, so that a key that the provider withdraws stops working.
_USER_TOKEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Verified:
    """A verified credential; times are unix seconds."""

    caller: Caller
    good_until: float = float("inf")
    origins: tuple[str, ...] = ()


class Authenticator:
    """Turns credentials into callers; raises `UnauthorizedError`, `ForbiddenError` or `RateLimitedError`.

    `choice` tells who keeps the conversations: without it, the upstream.
    """

    def __init__(self, settings: Settings, choice: "ConversationChoice | None" = None) -> None:
        self._choice = choice
        self._mode = settings.auth_mode
        self._is_private = is_loopback(settings.host)
        # Where a proxy publishes the service, its own pages come from there.
        own = [browser_origin(with_path(settings.public_url, ""))] if settings.public_url else []
        self._own_origins = frozenset(own)
        self._allowed_origins = {*settings.cors_origins, *own}
        self._signing_keys = settings.signing_keys
        self._key_digests = [(name, _digest_of(key)) for name, key in settings.named_api_keys]
        self._key_names = frozenset(settings.api_keys)
        self._jwt = JwtVerifier(settings) if settings.auth_mode == "jwt" else None
        self._attempts = AttemptLimit(settings)
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()
        self.sessions = SessionTokens(self._signing_keys)

    async def authenticate(self, sent: Credentials) -> Caller:
        """Return the caller who sent these credentials."""
        if self._mode == "none":
            return self._anonymous(sent)
        if sent.token is None or len(sent.token) > _MAX_TOKEN_CHARS:
            raise UnauthorizedError(
                "No credential. Send 'Authorization: Bearer …' or 'x-api-key'.", code="missing_credential"
            )
        found = await self._verified(sent, sent.token)
        if found.origins and self._page_of(sent) not in found.origins:
            raise ForbiddenError("The session is not for pages of this origin.", code="origin_not_allowed")
        if sent.user is not None and found.caller.kind == "api_key":
            return self.acting_for(found.caller, checked_user(sent.user, "x-user-id"))
        return found.caller

    def acting_for(self, caller: Caller, user: str) -> Caller:
        """Return an API key's caller as one that acts for `user`."""
        return self._of_user(caller.key_name or "", user, replace(caller, user=user))

    def scope_of(self, caller: Caller) -> RequestScope:
        """Return the scope of a caller's request, whose ids are signed for the caller's owner."""
        ids = IdCodec(self._signing_keys, caller.owner)
        keeps_own = self._choice.is_own if self._choice else False
        return RequestScope(caller, ids, keeps_own, caller.safety_identifier)

    async def aclose(self) -> None:
        """Stop fetching the identity provider's keys."""
        if self._jwt:
            await self._jwt.aclose()

    async def _verified(self, sent: Credentials, token: str) -> _Verified:
        digest = hashlib.sha256(token.encode()).digest()
        found = self._remembered.get(digest)
        if found is not None and found.good_until > time.time():
            self._remembered.move_to_end(digest)
            return found
        try:
            found = await self._verify(token, digest)
        except UnauthorizedError:
            # Only refusals count: an attacker behind the same proxy cannot lock its users out.
            self._attempts.check(sent.address)
            self._attempts.failed(sent.address)
            raise
        self._remembered[digest] = found
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    async def _verify(self, token: str, digest: bytes) -> _Verified:
        if token.startswith(SESSION_PREFIX):
            return self._of_session(self.sessions.read(token))
        name = self._key_name(digest)
        if name is not None:
            return _Verified(self._owned(f"key:{name}", Caller("api_key", key_name=name)))
        if self._jwt is None:
            raise UnauthorizedError("The API key is not valid. Check it for a typing error.")
        subject, expires_at, claims = await self._jwt.verify(token)
        user = Caller("user", is_trusted=False, user=subject, claims=claims)
        caller = self._owned(f"jwt:{subject}", user)
        return _Verified(caller, min(expires_at, time.time() + _USER_TOKEN_SECONDS))

    def _key_name(self, token_digest: bytes) -> str | None:
        # Every key is compared in constant time, so that the time says nothing about any of them.
        found = None
        for name, digest in self._key_digests:
            if hmac.compare_digest(digest, token_digest):
                found = name
        return found

    def _of_session(self, session: Session) -> _Verified:
        if session.key_name not in self._key_names:
            raise UnauthorizedError(
                "The API key that made this session is gone. Ask your backend for a new one.",
                code="invalid_session",
            )
        caller = Caller(
            "session",
            is_trusted=False,
            thread_id=session.thread_id,
            key_name=session.key_name,
            user=session.user,
            chat_limit=session.chat_limit,
            budget_tokens=session.budget_tokens,
            claims=session.claims,
        )
        owned = self._of_user(session.key_name, session.user, caller)
        if session.chat_limit is not None:
            # A limit of its own holds for the user on that page, however many sessions they get there.
            page = ",".join(sorted(session.origins))
            owned = replace(owned, counted_as=f"{owned.counted_as}/page:{page}")
        return _Verified(owned, session.expires_at, session.origins)

    def _of_user(self, key_name: str, user: str, caller: Caller) -> Caller:
        """Return the caller as a key's user, who is the same through the key and through sessions."""
        return self._owned(f"key:{key_name}/user:{user}", caller)

    def _owned(self, owner: str, caller: Caller) -> Caller:
        key = self._signing_keys[0] if self._signing_keys else b""
        return replace(caller, owner=owner, counted_as=owner, safety_identifier=owner_hash(key, owner))

    def _page_of(self, sent: Credentials) -> str | None:
        """Return the origin of the page that a request is for: one that frames ours, else the sender's."""
        return sent.origin if sent.embedder is None or not self._is_own_page(sent) else sent.embedder

    def _is_own_page(self, sent: Credentials) -> bool:
        """Return whether the browser says that a page of this service sends the request."""
        if sent.site is not None:
            return sent.site == b"same-origin"
        # Older browsers, and all over plain http, do not say it. What other pages send has an `Origin`.
        return sent.origin is None or sent.origin in self._own_origins or _is_at_host(sent.origin, sent.host)

    def _anonymous(self, sent: Credentials) -> Caller:
        is_known = sent.origin is None or self._is_known_page(sent.origin, sent.host)
        # Both count: a page that points its name at this machine may name another as the one that frames it.
        if is_known and sent.embedder is not None and self._is_own_page(sent):
            is_known = self._is_known_page(sent.embedder, sent.host)
        if not is_known:
            raise ForbiddenError(
                "Pages of this origin may not call. The service's operator can allow them in CORS_ORIGINS.",
                code="origin_not_allowed",
            )
        if self._is_private and sent.is_local:
            return Caller()
        return Caller(is_trusted=self._is_private, counted_as=f"address:{sent.address}")

    def _is_known_page(self, origin: str, host: str | None) -> bool:
        """Return whether pages of this origin may call without a credential."""
        if origin in self._allowed_origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if is_loopback(parts.hostname or ""):
            return True
        # On a private service the host name proves nothing: an attacker can point a name at this machine (DNS
        # rebinding), and the page then seems to be ours.
        return not self._is_private and host is not None and parts.netloc == host


def _is_at_host(origin: str, host: str | None) -> bool:
    """Return whether an origin's pages come from this host and port; a proxy may change the scheme."""
    return host is not None and origin.partition("://")[2] == host


UNSHARED = (
    "of several replicas behind TRUSTED_PROXIES, each counts limits, keeps idempotency keys and guards tool "
    "outputs for itself; set RATE_LIMIT_STORAGE=redis://host:port/db"
)


def warn_of_open_doors(settings: Settings) -> None:
    """Log warnings about settings that the operator may not have meant."""
    if settings.auth_mode == "none":
        who = "this machine" if is_loopback(settings.host) else "the network"
        effect = f"everybody on {who} may call, and spend; set AUTH_MODE=api_key"
        _log.warning("anonymous_access", effect=effect)
    if any(len(key) < _SHORT_KEY_CHARS for _, key in settings.named_api_keys):
        _log.warning("short_api_key", effect="it can be guessed; make keys with: openssl rand -hex 32")
    if settings.trusted_proxies and not settings.redis_url:
        _log.warning("replicas_share_nothing", effect=UNSHARED)


def _digest_of(key: str) -> bytes:
    if key.startswith("sha256:"):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()
