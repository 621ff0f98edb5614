"""JSON responses; the public objects are built complete, so nothing validates them again."""

from typing import Any

import orjson
from fastapi.responses import Response

from app.core.caller import RequestScope
from app.models.common import ErrorBody


class JsonResponse(Response):
    """A response with an orjson body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return orjson.dumps(content)


def answer(scope: RequestScope, content: Any, *, headers: dict[str, str] | None = None) -> JsonResponse:
    """Return an object as JSON, with the scope's headers."""
    return JsonResponse(content, headers=scope.headers | (headers or {}))


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for the OpenAPI document; 400 is always among them."""
    return {
        status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]}
        for status in sorted({400, *statuses})
    }


_DESCRIPTIONS = {
    400: "The request is wrong; `param` names the field.",
    401: "No valid credential.",
    403: "The credential does not reach this far.",
    404: "Unknown, or somebody else's.",
    409: "The thread is busy; see `Retry-After`.",
    410: "It existed and is gone for good.",
    413: "The body is over the limit.",
    416: "The file has no such range.",
    422: "The idempotency key was used with another body.",
    429: "Over a limit, ours or the upstream's; see `Retry-After`.",
    501: "It needs a store (`STORE_URL`), and this service has none.",
    502: "The upstream failed or cannot be reached.",
    503: "Overloaded, shutting down, or the store is away.",
    504: "The upstream did not answer in time.",
}
