"""What the service is, whether it lives, and whether it can work."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from app.api.dependencies import AssistantDep, HealthDep, RegistryDep, SettingsDep
from app.api.responses import JsonResponse
from app.core.config import VERSION

root_router = APIRouter(tags=["health"])
router = APIRouter(tags=["health"])


class Root(BaseModel):
    """The service's card."""

    name: Literal["Soloist"]
    version: str
    assistant: dict[str, Any]
    upstream: dict[str, Any]
    links: dict[str, str | None]


class HealthRead(BaseModel):
    """Says that the process lives."""

    status: Literal["ok"]
    version: str
    upstream: dict[str, Any]


class ReadyRead(BaseModel):
    """Says whether work can be sent here."""

    status: Literal["ready", "not_ready"]
    draining: bool
    open_streams: int
    upstream: dict[str, Any]
    redis: dict[str, Any] | None


@root_router.get("/", summary="What this is", response_model=Root)
async def read_root(assistant: AssistantDep, health: HealthDep, settings: SettingsDep) -> Response:
    links = {
        "docs": "/docs" if settings.docs_enabled else None,
        "openapi": "/openapi.json" if settings.docs_enabled else None,
        "health": "/api/v1/health",
        "ready": "/api/v1/ready",
        "chat": "/api/v1/chat",
        "playground": "/playground" if settings.playground_enabled else None,
    }
    named = {"id": assistant.id, "name": assistant.name, "description": assistant.description}
    return JsonResponse(
        {
            "name": "Soloist",
            "version": VERSION,
            "assistant": named,
            "upstream": health.describe(),
            "links": links,
        }
    )


@router.get("/health", summary="Does the process live?", response_model=HealthRead)
async def read_health(health: HealthDep) -> Response:
    return JsonResponse({"status": "ok", "version": VERSION, "upstream": health.describe()})


@router.get(
    "/ready",
    summary="Can it work?",
    response_model=ReadyRead,
    responses={503: {"model": ReadyRead, "description": "Not now; `upstream` and `draining` say why."}},
)
async def read_ready(health: HealthDep, registry: RegistryDep) -> Response:
    upstream = await health.check()
    is_ready = upstream["reachable"] and not registry.is_draining
    body = {
        "status": "ready" if is_ready else "not_ready",
        "draining": registry.is_draining,
        "open_streams": registry.open_streams,
        "upstream": health.describe() | upstream,
        "redis": health.describe_redis(),
    }
    return JsonResponse(body, status_code=200 if is_ready else 503)
