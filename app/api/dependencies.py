"""What routers ask for, under names that say it."""

import re
from typing import Annotated, Any, Literal, TypedDict, cast

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
from app.core.openai_client import OpenAIClient
from app.core.security.authenticator import Authenticator
from app.core.security.credentials import checked_user
from app.core.services.messages import Cursor

_USER_KEY = re.compile(rb'"user"\s*:')


class State(TypedDict):
    """What the lifespan opens and every request can reach."""

    settings: Settings
    assistant: Assistant
    client: OpenAIClient
    registry: StreamRegistry
    health: Health
    authenticator: Authenticator
    rate_limits: RateLimits
    idempotency: Idempotency


async def _settings(request: Request) -> Settings:
    return cast("Settings", request.state.settings)


async def _assistant(request: Request) -> Assistant:
    return cast("Assistant", request.state.assistant)


async def _client(request: Request) -> OpenAIClient:
    return cast("OpenAIClient", request.state.client)


async def _registry(request: Request) -> StreamRegistry:
    return cast("StreamRegistry", request.state.registry)


async def _health(request: Request) -> Health:
    return cast("Health", request.state.health)


async def _authenticator(request: Request) -> Authenticator:
    return cast("Authenticator", request.state.authenticator)


async def current_scope(request: Request) -> RequestScope:
    """Return who calls and whose ids these are.

    `AccessMiddleware` found the caller and counted the request, unless the body may name who it is for: then
    that is read here and the request counted, once however often this is called. Raises `RateLimitedError`,
    and `UnauthorizedError` where nobody was asked for a credential.
    """
    state = request.scope["state"]
    scope: RequestScope | None = state.get("request_scope")
    if scope is None:
        caller: Caller | None = state.get("caller")
        if caller is None:
            raise UnauthorizedError("No credential was asked for on this path.", code="missing_credential")
        if (user := await _named_user(request)) is not None:
            caller = _acting(caller, user, state)
        scope = await admit(request.scope, caller)
    return scope


def _acting(caller: Caller, user: str, state: dict[str, Any]) -> Caller:
    if caller.user is not None and caller.user != user:
        raise BadRequestError(
            "'user' and the header 'x-user-id' name different users. Send one.", param="user"
        )
    authenticator: Authenticator = state["authenticator"]
    return authenticator.acting_for(caller, user)


async def _named_user(request: Request) -> str | None:
    """Return the `user` of a JSON body; bodies that cannot hold one are not parsed."""
    if not _is_json(request.headers.get("content-type", "")):
        return None
    body = await request.body()
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


def _is_json(content_type: str) -> bool:
    """Tell what FastAPI reads as JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _cursor(
    limit: Annotated[int, Query(ge=1, le=100, description="Objects a page.")] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By creation.")] = "desc",
    after: Annotated[str | None, Query(description="Id of the last object of the page before.")] = None,
    before: Annotated[str | None, Query(description="Id of the first object of the page after.")] = None,
) -> Cursor:
    return Cursor(limit, order, after, before)


SettingsDep = Annotated[Settings, Depends(_settings)]
AssistantDep = Annotated[Assistant, Depends(_assistant)]
ClientDep = Annotated[OpenAIClient, Depends(_client)]
RegistryDep = Annotated[StreamRegistry, Depends(_registry)]
HealthDep = Annotated[Health, Depends(_health)]
AuthenticatorDep = Annotated[Authenticator, Depends(_authenticator)]
ScopeDep = Annotated[RequestScope, Depends(current_scope)]
CursorDep = Annotated[Cursor, Depends(_cursor)]
