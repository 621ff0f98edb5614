"""Cross-origin calls from browsers: allowed for the listed origins, with the headers that SDKs send."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.api.responses import JsonResponse
from app.core.errors import ForbiddenError

METHODS = ["GET", "POST", "DELETE"]
# fmt: off
REQUEST_HEADERS = [
    "authorization", "content-type", "idempotency-key", "last-event-id", "openai-beta", "openai-organization",
    "openai-project", "range", "user-agent", "x-api-key", "x-request-id",
]
EXPOSED_HEADERS = [
    "content-disposition", "content-range", "idempotent-replayed", "openai-poll-after-ms", "ratelimit-limit",
    "ratelimit-remaining", "ratelimit-reset", "retry-after", "x-budget-used", "x-content-flagged",
    "x-dropped-items",
    "x-ignored-params", "x-request-id", "x-should-retry", "x-thread-id", "x-unanswered-tool-calls",
    "x-vercel-ai-ui-message-stream",
]
# fmt: on
# OpenAI's SDKs add such headers with every major version, so they are matched by their prefix.
_SDK_HEADER = re.compile(r"x-stainless-[a-z0-9-]{1,40}\Z")
_REFUSED = "Pages of this origin may not send this request. The operator can allow them in CORS_ORIGINS."
_REQUESTED = "access-control-request-headers"
_ALLOWED = "access-control-allow-headers"


class SdkCorsMiddleware(CORSMiddleware):
    """Starlette's middleware, which also allows `x-stainless-*` and refuses in the error envelope."""

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
        """Answer a preflight request."""
        names = [name.strip().lower() for name in request_headers.get(_REQUESTED, "").split(",")]
        sdk_names = [name for name in names if _SDK_HEADER.match(name)]
        asked = MutableHeaders(raw=list(request_headers.raw))
        if sdk_names:
            asked[_REQUESTED] = ", ".join(name for name in names if name not in sdk_names) or "accept"
        response = super().preflight_response(asked)
        if response.status_code != 200:
            error = ForbiddenError(_REFUSED, code="cors_refused")
            del response.headers["content-length"], response.headers["content-type"]
            return JsonResponse(error.body(), status_code=error.status_code, headers=response.headers)
        if sdk_names:
            response.headers[_ALLOWED] = ", ".join([response.headers[_ALLOWED], *sdk_names])
        return response
