"""Authentication, rate limits and host names, as pure ASGI middleware.

Every path under `/api/v1` needs a credential unless it is listed here as public, so a new route cannot be
left open by mistake. The body of a request without one is never read.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware.errors import send_error
from app.core.caller import Caller, RequestScope, current_owner
from app.core.errors import BadRequestError, ServiceError
from app.core.security.authenticator import Authenticator
from app.core.security.credentials import CredentialReader
from app.utils.hosts import is_loopback

API_PREFIX = "/api/v1"
# Orchestrators send no credential; the answers say nothing about callers.
PUBLIC_PATHS = frozenset({f"{API_PREFIX}/health", f"{API_PREFIX}/ready"})


class AccessMiddleware:
    """Authenticates each request to the API, applies the rate limit, and stores both results in its state.

    A POST with an API key is counted by its route (`current_scope`), as its body may name the user it is for.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str]) -> None:
        self._app = app
        self._reader = CredentialReader(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and _is_guarded(scope):
            try:
                await self._let_in(scope)
            except ServiceError as exc:
                await send_error(scope, send, exc)
                return
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope) -> None:
        state, client = scope["state"], scope.get("client")
        authenticator: Authenticator = state["authenticator"]
        sent = self._reader.read(scope["headers"], client[0] if client else None)
        state["caller"] = caller = await authenticator.authenticate(sent)
        state["asked_user"] = sent.user
        if caller.kind != "api_key" or scope["method"] != "POST":
            await admit(scope, caller)


class HostMiddleware:
    """Serves only certain host names; health checks, which use the address, always pass.

    Args:
        app: the next application.
        hosts: names, or endings such as `*.example.com`.
        serves_loopback: whether the names and addresses of this machine are served too.

    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], *, serves_loopback: bool = False) -> None:
        self._app = app
        self._serves_loopback = serves_loopback
        self._exact = frozenset(host.lower() for host in hosts if not host.startswith("*"))
        self._endings = tuple(host[1:].lower() for host in hosts if host.startswith("*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS and not self._is_served(scope):
            error = BadRequestError(
                "This host name is not served. Its operator can add it to TRUSTED_HOSTS.",
                param="Host",
                code="unknown_host",
            )
            await send_error(scope, send, error)
            return
        await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        name = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        if not name.endswith("]"):
            before, colon, port = name.rpartition(":")
            name = before if colon and port.isdigit() else name
        if name in self._exact or (bool(self._endings) and name.endswith(self._endings)):
            return True
        return self._serves_loopback and is_loopback(name.strip("[]"))


async def admit(scope: Scope, caller: Caller) -> RequestScope:
    """Count a request against its caller's limits; store its scope in its state and return it.

    Raises `RateLimitedError`.
    """
    state = scope["state"]
    state["caller"] = caller
    current_owner.set(caller.owner)
    state["limit_headers"] = await state["rate_limits"].admit(scope, caller)
    authenticator: Authenticator = state["authenticator"]
    found = state["request_scope"] = authenticator.scope_of(caller)
    if caller.kind != "api_key" and state.get("asked_user") is not None:
        found.ignore(["x-user-id"])
    return found


def _is_guarded(scope: Scope) -> bool:
    path: str = scope["path"]
    # Browsers send OPTIONS before they may send a credential; it reaches no handler.
    return path.startswith(API_PREFIX + "/") and path not in PUBLIC_PATHS and scope["method"] != "OPTIONS"
