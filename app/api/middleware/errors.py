"""Answers that are given before any route is asked."""

import orjson
from starlette.types import Message, Scope, Send

from app.core.errors import ServiceError


async def send_error(scope: Scope, send: Send, error: ServiceError) -> None:
    """Answer with an error in the envelope, and name it in the request's log line."""
    log = scope.get("state", {}).get("log")
    if log is not None:
        log["error"] = error.code
    await send(error_start(error))
    await send(error_body(error))


def error_start(error: ServiceError) -> Message:
    """Return the head of an error's answer."""
    length = str(len(orjson.dumps(error.body()))).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return {"type": "http.response.start", "status": error.status_code, "headers": headers}


def error_body(error: ServiceError) -> Message:
    """Return the body of an error's answer."""
    return {"type": "http.response.body", "body": orjson.dumps(error.body())}
