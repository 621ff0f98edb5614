"""OpenAI's error envelope: what the embedded upstream raises and how it reads on the wire."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.embedded.wire import json_response

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """A refusal with an HTTP status, told as `{"error": {message, type, param, code}}`."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        error_type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.error_type = error_type

    def response(self) -> Response:
        """The envelope with its status."""
        body = {"message": self.message, "type": self.error_type, "param": self.param, "code": self.code}
        headers = {"retry-after": "1"} if self.status == 429 else None
        return json_response({"error": body}, status=self.status, headers=headers)


def not_found(kind: str, object_id: str, param: str | None = None) -> ApiError:
    """404 in OpenAI's words, as in `Conversation with id 'conv_…' not found`."""
    return ApiError(f"{kind} with id '{object_id}' not found.", status=404, param=param)


def conversation_locked() -> ApiError:
    """400 of a second writer."""
    return ApiError(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        code="conversation_locked",
    )


def server_error() -> ApiError:
    """500 that says nothing of its cause."""
    return ApiError(
        "The server had an error while processing your request. Sorry about that!",
        status=500,
        error_type="server_error",
    )


async def on_api_error(request: Request, exc: Exception) -> Response:
    """Starlette handler of `ApiError`."""
    assert isinstance(exc, ApiError)  # noqa: S101 - Starlette types every handler's argument as Exception
    return exc.response()


async def on_http_error(request: Request, exc: Exception) -> Response:
    """Starlette handler of unknown routes and wrong methods."""
    assert isinstance(exc, HTTPException)  # noqa: S101 - Starlette types every handler's argument as Exception
    where = f"{request.method} {request.url.path}"
    messages = {404: f"Invalid URL ({where})", 405: f"Not allowed to {where}."}
    return ApiError(messages.get(exc.status_code, exc.detail), status=exc.status_code).response()


async def on_client_gone(request: Request, exc: Exception) -> Response:
    """Starlette handler of a client that left before its body was whole; nobody reads the answer."""
    return ApiError("The request body ended early.").response()


async def on_server_error(request: Request, exc: Exception) -> Response:
    """Starlette handler of what nobody foresaw; the cause goes to the log."""
    logger.error("embedded upstream failed", exc_info=exc)
    return server_error().response()
