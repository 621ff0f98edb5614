"""The dependencies of routes, as named types."""

import re
from typing import Annotated, Any, Literal, TypedDict

import orjson
from fastapi import Depends, Query, Request

from app.api.middleware.access import admit
from app.api.open_streams import StreamRegistry
from app.core.assistant import Assistant
from app.core.caller import Caller, RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, UnauthorizedError
from app.core.limits.idempotency import Idempotency
from app.core.limits.rate_limit import RateLimits
from app.core.observability.health import Health
from app.core.observability.metrics import Metrics
from app.core.openai_client import OpenAIClient
from app.core.security.authenticator import Authenticator
from app.core.security.credentials import checked_user
from app.core.services.messages import Cursor

_USER_KEY = re.compile(rb'"user"\s*:')


class State(TypedDict):
    """The state that the lifespan opens and every request can read."""

    settings: Settings
    assistant: Assistant
    client: OpenAIClient
    registry: StreamRegistry
    health: Health
    metrics: Metrics
    authenticator: Authenticator
    rate_limits: RateLimits
    idempotency: Idempotency


def _from_state(name: str) -> Any:
    """Return the dependency on a field of `State`."""

    async def find(request: Request) -> Any:
        return getattr(request.state, name)

    return Depends(find)


async def current_scope(request: Request) -> RequestScope:
    """Return the request's caller and id codec; the same object however often it is called.

    `AccessMiddleware` admits most requests. Only a POST with an API key is admitted here, because its body
    may name the user that it is made for. Raises `RateLimitedError`, and `UnauthorizedError` on a path that
    asks for no credential.
    """
    state = request.scope["state"]
    scope: RequestScope | None = state.get("request_scope")
    if scope is None:
        caller: Caller | None = state.get("caller")
        # Only paths that AccessMiddleware guards have a caller.
        if caller is None:
            raise UnauthorizedError("No credential was asked for on this path.", code="missing_credential")
        if (user := await _named_user(request)) is not None:
            if caller.user is not None and caller.user != user:
                raise BadRequestError(
                    "'user' and the header 'x-user-id' name different users. Send one.", param="user"
                )
            caller = state["authenticator"].acting_for(caller, user)
        scope = await admit(request.scope, caller)
    return scope


async def _named_user(request: Request) -> str | None:
    """Return the `user` of a JSON body, or None."""
    if not is_json_type(request.headers.get("content-type", "")):
        return None
    body = await request.body()
    # Searching is far cheaper than parsing, and few bodies name a user.
    if not _USER_KEY.search(body):
        return None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    user = found.get("user") if isinstance(found, dict) else None
    if user is None:
        return None
    return checked_user(user if isinstance(user, str) else "", "user")


def is_json_type(content_type: str) -> bool:
    """Return whether FastAPI reads this content type as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _cursor(
    limit: Annotated[int, Query(ge=1, le=100, description="Objects a page.")] = 20,
    order: Annotated[
        Literal["asc", "desc"], Query(description="Newest or oldest first; threads by activity.")
    ] = "desc",
    after: Annotated[str | None, Query(description="Id of the last object of the page before.")] = None,
    before: Annotated[str | None, Query(description="Id of the first object of the page after.")] = None,
) -> Cursor:
    return Cursor(limit, order, after, before)


SettingsDep = Annotated[Settings, _from_state("settings")]
AssistantDep = Annotated[Assistant, _from_state("assistant")]
ClientDep = Annotated[OpenAIClient, _from_state("client")]
RegistryDep = Annotated[StreamRegistry, _from_state("registry")]
HealthDep = Annotated[Health, _from_state("health")]
MetricsDep = Annotated[Metrics, _from_state("metrics")]
AuthenticatorDep = Annotated[Authenticator, _from_state("authenticator")]
ScopeDep = Annotated[RequestScope, Depends(current_scope)]
CursorDep = Annotated[Cursor, Depends(_cursor)]
