"""The root, health, readiness and metrics routes."""

import hmac
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from app.api.dependencies import AssistantDep, HealthDep, MetricsDep, RegistryDep, SettingsDep
from app.api.responses import JsonResponse
from app.api.root_page import FAVICON, root_page, wants_page
from app.core.config import VERSION
from app.core.errors import ForbiddenError, UnauthorizedError
from app.core.observability.metrics import CONTENT_TYPE
from app.utils.hosts import is_loopback, with_path

root_router = APIRouter(tags=["health"])
router = APIRouter(tags=["health"])
metrics_router = APIRouter()
# A proxy on this machine adds one of these when it forwards a request.
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


class Root(BaseModel):
    """What the service is, and where things are."""

    name: Literal["Soloist"]
    version: str
    assistant: dict[str, Any]
    upstream: dict[str, Any]
    links: dict[str, str | None]


class HealthRead(BaseModel):
    """The process is alive."""

    status: Literal["ok"]
    version: str
    upstream: dict[str, Any]


class ReadyRead(BaseModel):
    """Whether this replica can take work."""

    status: Literal["ready", "not_ready"]
    draining: bool
    open_streams: int
    upstream: dict[str, Any]
    redis: dict[str, Any] | None
    store: dict[str, Any] | None


@root_router.get("/", summary="What this is", response_model=Root)
@root_router.head("/", include_in_schema=False)
async def read_root(
    request: Request, assistant: AssistantDep, health: HealthDep, settings: SettingsDep
) -> Response:
    paths = {
        "docs": "/docs" if settings.docs_enabled else None,
        "openapi": "/openapi.json" if settings.docs_enabled else None,
        "health": "/api/v1/health",
        "ready": "/api/v1/ready",
        "chat": "/api/v1/chat",
        "playground": "/playground" if settings.playground_enabled else None,
    }
    links = {name: path and settings.path_prefix + path for name, path in paths.items()}
    named = {"id": assistant.id, "name": assistant.name, "description": assistant.description}
    card = {"name": "Soloist", "version": VERSION, "assistant": named, "upstream": health.describe()}
    card["links"] = links
    response: Response = JsonResponse(card)
    if wants_page(request.headers.get("accept", "")):
        address = with_path(settings.public_url or str(request.base_url), settings.path_prefix)
        response = root_page(card, f"{address}/", needs_key=settings.auth_mode != "none")
    # One address with two answers: a cache must not mix them up.
    response.headers.update({"vary": "accept", "cache-control": "no-cache"})
    return response


@root_router.api_route("/favicon.ico", methods=["GET", "HEAD"], include_in_schema=False)
async def read_favicon() -> Response:
    """Answer what browsers ask for with every page; they go by the type and not by the name."""
    return Response(FAVICON, media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})


@router.get("/health", summary="Does the process live?", response_model=HealthRead)
@router.head("/health", include_in_schema=False)
async def read_health(health: HealthDep) -> Response:
    return JsonResponse({"status": "ok", "version": VERSION, "upstream": health.describe()})


@router.get(
    "/ready",
    summary="Can it work?",
    response_model=ReadyRead,
    responses={503: {"model": ReadyRead, "description": "Not now; `upstream` and `draining` say why."}},
)
@router.head("/ready", include_in_schema=False)
async def read_ready(health: HealthDep, registry: RegistryDep) -> Response:
    upstream = await health.check()
    # A draining replica must get no new work, so balancers are told before the port closes.
    is_ready = upstream["reachable"] and not registry.is_draining
    body = {
        "status": "ready" if is_ready else "not_ready",
        "draining": registry.is_draining,
        "open_streams": registry.open_streams,
        "upstream": health.describe() | upstream,
        "redis": health.describe_redis(),
        "store": health.describe_store(),
    }
    return JsonResponse(body, status_code=200 if is_ready else 503)


@metrics_router.get("/metrics", include_in_schema=False)
async def read_metrics(request: Request, metrics: MetricsDep, settings: SettingsDep) -> Response:
    """Answer the bearer of `METRICS_TOKEN`, else only this machine: metrics tell how much it is used."""
    if settings.metrics_token is not None:
        token = settings.metrics_token.get_secret_value()
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), token.encode()):
            raise UnauthorizedError("Send METRICS_TOKEN as a bearer token.")
    elif not _is_local(request):
        raise ForbiddenError(
            "Metrics are for this machine alone. Set METRICS_TOKEN to read them from elsewhere.",
            code="metrics_not_public",
        )
    return Response(metrics.render(), media_type=CONTENT_TYPE)


def _is_local(request: Request) -> bool:
    """Return whether the request comes from this machine, and not through a proxy on it."""
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    return request.client is not None and is_loopback(request.client.host) and not is_forwarded
