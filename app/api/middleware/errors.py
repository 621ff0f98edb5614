"""Errors that middleware answers with, before any route is called."""

from typing import Any

import orjson
from starlette.types import Message, Scope, Send

from app.core.errors import ServiceError


async def send_error(scope: Scope, send: Send, error: ServiceError) -> None:
    """Send an error in the envelope, and add its code to the access line."""
    log: dict[str, Any] | None = scope.get("state", {}).get("log")
    if log is not None:
        log["error"] = error.code
    for message in error_messages(error):
        await send(message)


def error_messages(error: ServiceError) -> tuple[Message, Message]:
    """Return the two ASGI messages of an error's answer: its start and its body."""
    body = orjson.dumps(error.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    start = {"type": "http.response.start", "status": error.status_code, "headers": headers}
    return start, {"type": "http.response.body", "body": body}
