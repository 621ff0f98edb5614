"""The doors before the routes, pure ASGI: which host names are served, who gets in, and how often.

Everything under `/api/v1` asks for a credential unless it is listed here as public, so a new route cannot be
left open by mistake, and a stranger's body is never read.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware.errors import send_error
from app.core.caller import Caller, RequestScope
from app.core.errors import BadRequestError, ServiceError
from app.core.security.authenticator import Authenticator
from app.core.security.credentials import CredentialReader

API_PREFIX = "/api/v1"
PUBLIC_PATHS = frozenset({f"{API_PREFIX}/health", f"{API_PREFIX}/ready"})
"""What orchestrators ask without a credential; it tells nothing about anybody."""


class AccessMiddleware:
    """Finds the caller of each request to the API, counts the request, and leaves both in its state.

    The POST of an API key is counted by its route (`current_scope`): its body may name the user it is for.
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
    """Serves only the host names that the operator lists; health checks come by address and pass."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._exact = frozenset(host.lower() for host in hosts if not host.startswith("*"))
        self._endings = tuple(host[1:].lower() for host in hosts if host.startswith("*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS and not self._is_served(scope):
            await send_error(scope, send, _unknown_host())
            return
        await self._app(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        name = host.lower()
        if not name.endswith("]"):
            before, colon, port = name.rpartition(":")
            name = before if colon and port.isdigit() else name
        return name in self._exact or (bool(self._endings) and name.endswith(self._endings))


async def admit(scope: Scope, caller: Caller) -> RequestScope:
    """Count a request against its caller's limits; leaves the request's scope in its state and returns it.

    Raises `RateLimitedError`.
    """
    state = scope["state"]
    state["caller"] = caller
    state["limit_headers"] = await state["rate_limits"].admit(scope, caller)
    authenticator: Authenticator = state["authenticator"]
    found = state["request_scope"] = authenticator.scope_of(caller)
    if caller.kind != "api_key" and state.get("asked_user") is not None:
        found.ignore(["x-user-id"])
    return found


def _is_guarded(scope: Scope) -> bool:
    path: str = scope["path"]
    # An OPTIONS request reaches no handler: browsers send it before they may send a credential.
    return path.startswith(API_PREFIX + "/") and path not in PUBLIC_PATHS and scope["method"] != "OPTIONS"


def _unknown_host() -> BadRequestError:
    return BadRequestError(
        "This host name is not served. Its operator can add it to TRUSTED_HOSTS.",
        param="Host",
        code="unknown_host",
    )
