"""What routers ask for, under names that say it."""

from typing import Annotated, Literal, TypedDict, cast

from fastapi import Depends, Query, Request

from app.api.streaming import StreamRegistry
from app.core.assistant import Assistant
from app.core.callers import Caller, Scope
from app.core.config import Settings
from app.core.health import Health
from app.core.messages import Cursor
from app.core.openai_client import OpenAIClient
from app.utils.ids import IdCodec


class State(TypedDict):
    """What the lifespan opens and every request can reach."""

    settings: Settings
    assistant: Assistant
    client: OpenAIClient
    registry: StreamRegistry
    health: Health


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


async def current_scope(request: Request) -> Scope:
    """Return who calls and whose ids these are."""
    settings: Settings = request.state.settings
    caller = Caller()
    return Scope(caller, IdCodec(settings.signing_keys, caller.owner))


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
ScopeDep = Annotated[Scope, Depends(current_scope)]
CursorDep = Annotated[Cursor, Depends(_cursor)]
