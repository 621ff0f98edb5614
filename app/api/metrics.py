"""`/metrics` for Prometheus; not for strangers: they would learn how much the service is used."""

import hmac

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.core.config import Settings
from app.core.errors import ForbiddenError, UnauthorizedError
from app.core.observability.metrics import CONTENT_TYPE, Metrics
from app.utils.hosts import is_loopback

_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")


def metrics_router(metrics: Metrics, settings: Settings) -> APIRouter:
    """Return the route: with `METRICS_TOKEN` for its bearer, else for programs on this machine alone."""
    router = APIRouter()
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None

    @router.get("/metrics", include_in_schema=False)
    async def read_metrics(request: Request) -> Response:
        if token is not None:
            _check_token(request, token)
        elif not _is_local(request):
            raise ForbiddenError(
                "Metrics are for this machine alone. Set METRICS_TOKEN to read them from elsewhere.",
                code="metrics_not_public",
            )
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router


def _check_token(request: Request, token: str) -> None:
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent.encode(), token.encode()):
        raise UnauthorizedError("Send METRICS_TOKEN as a bearer token.")


def _is_local(request: Request) -> bool:
    """Tell whether a program on this machine asks, and not a proxy on it for somebody else."""
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    return request.client is not None and is_loopback(request.client.host) and not is_forwarded
