"""Cross-origin calls from browsers: closed unless an origin is listed, and then open for what SDKs send."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api.middleware.errors import error_body, error_start
from app.core.errors import ForbiddenError

METHODS = ["GET", "POST", "DELETE"]
REQUEST_HEADERS = [
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "range",
    "user-agent",
    "x-api-key",
    "x-request-id",
]
EXPOSED_HEADERS = [
    "content-disposition",
    "content-range",
    "idempotent-replayed",
    "openai-poll-after-ms",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-ignored-params",
    "x-request-id",
    "x-should-retry",
    "x-thread-id",
    "x-unanswered-tool-calls",
    "x-vercel-ai-ui-message-stream",
]
_SDK_HEADER = re.compile(r"x-stainless-[a-z0-9-]{1,40}\Z")
"""OpenAI's SDKs add to these with every major version, so they are known by their beginning."""

_REQUESTED = "access-control-request-headers"
_ALLOWED = "access-control-allow-headers"


class SdkCorsMiddleware(CORSMiddleware):
    """Starlette's, with `x-stainless-*` allowed and refusals in the error envelope."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser that asks what it may send."""
        names = [name.strip().lower() for name in request_headers.get(_REQUESTED, "").split(",")]
        sdk_names = [name for name in names if _SDK_HEADER.match(name)]
        asked = MutableHeaders(raw=list(request_headers.raw))
        if sdk_names:
            asked[_REQUESTED] = ", ".join(name for name in names if name not in sdk_names) or "accept"
        response = super().preflight_response(asked)
        if response.status_code != 200:
            return _refusal(response)
        if sdk_names:
            response.headers[_ALLOWED] = ", ".join([response.headers[_ALLOWED], *sdk_names])
        return response


def _refusal(refused: Response) -> Response:
    error = ForbiddenError(
        "Pages of this origin may not send this request. The operator can allow them in CORS_ORIGINS.",
        code="cors_refused",
    )
    kept = {
        name: value
        for name, value in refused.headers.items()
        if name not in {"content-length", "content-type"}
    }
    return Response(
        error_body(error)["body"], error_start(error)["status"], kept, media_type="application/json"
    )
