"""The outermost middleware, pure ASGI: request ids, access lines, security headers, unexpected errors.

It looks at each message of a response once, so that streams stay cheap (docs/decisions.md on middleware).
"""

import os
import re
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware.errors import error_messages
from app.core.errors import ServiceError, TooLargeError, body_too_large
from app.core.logging import REQUEST_ID, REQUEST_LOG
from app.core.observability.metrics import Metrics

_log = structlog.get_logger("access")
# Clients choose these ids, which go into logs and headers.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# The page of the frame says in its policy who may frame it.
EMBED_PATH = "/embed"
_FRAME_HEADERS = [header for header in _SECURITY_HEADERS if header[0] != b"x-frame-options"]
_CLIENT_GONE = 499
# Answers of the API belong to one caller, so no cache may keep them; nothing in them may run in a browser.
_API_HEADERS = [
    *_SECURITY_HEADERS,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_STAINLESS = {
    b"x-stainless-retry-count": "retry_count",
    b"x-stainless-stream-helper": "stream_helper",
    b"x-stainless-poll-helper": "poll_helper",
}
_BODY_TOO_LARGE = body_too_large()
_API_PREFIX = "/api/v1"
_SLASHES = re.compile("//+")


class RequestMiddleware:
    """Wraps every HTTP request; nothing is raised past it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix
        self._metrics = metrics
        self._access_log = structlog.get_logger("access").bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        # Before anything looks at the path: no route has these, and a redirect would lose scheme and prefix.
        if self._prefix or path[-1:] == "/" or "//" in path:
            scope["path"] = own_path(path, self._prefix)
        request_id = _request_id(scope)
        fields: dict[str, Any] = {}
        scope.setdefault("state", {})["log"] = fields
        REQUEST_LOG.set(fields)
        REQUEST_ID.set(request_id)
        started = time.perf_counter()
        status = 0
        is_replaced = False

        async def answer(message: Message) -> None:
            nonlocal status, is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                if is_bare := _is_bare_body_limit(message):
                    message, body = error_messages(_BODY_TOO_LARGE)
                _add_headers(message, request_id, scope)
                if is_bare:
                    is_replaced = True
                    fields["error"] = _BODY_TOO_LARGE.code
                    await send(message)
                    message = body
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as exc:  # noqa: BLE001 - whatever failed, the client gets the envelope
            _log.error("unhandled_error", error=type(exc).__name__, where=_where(exc))
            if not status:
                failure = ServiceError("The service failed. The failure has been logged.")
                for message in error_messages(failure):
                    await answer(message)
        finally:
            self._note_end(scope, fields, status or _CLIENT_GONE, time.perf_counter() - started)

    def _note_end(self, scope: Scope, fields: dict[str, Any], status: int, seconds: float) -> None:
        method, route = scope["method"], _template(scope)
        # Unknown paths share one label, because clients can send any number of them.
        self._metrics.request_ended(method, route or "unmatched", status, seconds, fields.get("error"))
        line = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        self._access_log.info("request", **(line | _named(scope) | fields))


def own_path(path: str, prefix: str) -> str:
    """Return a path without the prefix under which a proxy publishes the service, and without idle slashes.

    Proxies differ in whether they pass the prefix on. One that begins as the API's own paths do, such as
    `/api`, has been taken off where such a path is left.
    """
    path = _SLASHES.sub("/", path)
    if prefix and f"{path}/".startswith(f"{prefix}/") and not path.startswith(f"{_API_PREFIX}/"):
        path = path[len(prefix) :]
    return path.rstrip("/") or "/"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _REQUEST_ID.match(text) else f"req_{os.urandom(16).hex()}"
    return f"req_{os.urandom(16).hex()}"


def _add_headers(message: MutableMapping[str, Any], request_id: str, scope: Scope) -> None:
    headers = message.setdefault("headers", [])
    names = {name for name, _ in headers}
    headers.append((b"x-request-id", request_id.encode()))
    if scope["path"].startswith(_API_PREFIX):
        extra = _API_HEADERS
    else:
        extra = _FRAME_HEADERS if scope["path"] == EMBED_PATH else _SECURITY_HEADERS
    headers += [header for header in extra if header[0] not in names]
    for name, value in scope["state"].get("limit_headers", {}).items():
        if (raw := name.encode()) not in names:
            headers.append((raw, value.encode()))


def _named(scope: Scope) -> dict[str, str]:
    """Return the fields of an access line that come from the path and from the SDK's headers."""
    named = {key: str(value)[:200] for key, value in (scope.get("path_params") or {}).items()}
    for name, value in scope["headers"]:
        if name in _STAINLESS:
            named[_STAINLESS[name]] = value.decode("latin-1")[:40]
    return named


def _template(scope: Scope) -> str | None:
    """Return the route's path template; FastAPI keeps it without the prefix of the API."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path and scope["path"].startswith(_API_PREFIX) and not path.startswith(_API_PREFIX):
        return _API_PREFIX + path
    return path


def _where(exc: BaseException) -> str:
    """Return the file and line where an exception was raised."""
    trace = exc.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "?"


def _is_bare_body_limit(message: Message) -> bool:
    """Return whether this starts the plain-text 413 that FastAPI sends without an exception handler."""
    return message["status"] == TooLargeError.status_code and any(
        name == b"content-type" and value.startswith(b"text/plain") for name, value in message["headers"]
    )
