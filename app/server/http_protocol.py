"""uvicorn's HTTP protocol with bounds on a request's head and pace; httptools itself has none."""

import asyncio
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, ClassVar

import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.server.http10 import answer_unchunked

MAX_URL_BYTES = 16 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
_SEND_BUFFER_BYTES = 128 * 1024
_UPLOAD_STEP_BYTES = 64 * 1024
_TOO_MUCH = f"The request has more than {MAX_HEADERS} headers or {MAX_HEAD_BYTES} bytes of them. Send fewer."
_REFUSALS = {
    status: {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    for status, code, message in (
        (400, "invalid_http", "This is no HTTP request."),
        (408, "request_timeout", "The request did not arrive in time."),
        (414, "url_too_long", f"The URL is longer than {MAX_URL_BYTES} bytes. Send values in the body."),
        (431, "headers_too_large", _TOO_MUCH),
    )
}
_log = structlog.get_logger("soloist")


class BoundedHttpProtocol(HttpToolsProtocol):
    """A connection; a request beyond a bound gets 408, 414 or 431, and the connection is closed."""

    request_seconds: ClassVar[float]
    most_unfinished: ClassVar[int]
    unfinished: ClassVar[dict["BoundedHttpProtocol", asyncio.TimerHandle]]
    _head_bytes: int | None = 0  # None while a body arrives
    _step_bytes: int | None = None  # None unless an upload arrives
    _status = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for a request; of too many such connections, close the oldest."""
        super().connection_made(transport)
        # The system would grow it to megabytes for a client that stops to read.
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._expect()
        if len(self.unfinished) > self.most_unfinished:
            next(iter(self.unfinished)).refuse(408)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head that is not whole; parse."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > MAX_HEAD_BYTES:
            self.refuse(431 if self.headers else 414)

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Check the whole head, of which one read brings at most 256 KiB."""
        size = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > MAX_URL_BYTES or len(self.headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            self._status = 414 if len(self.url) > MAX_URL_BYTES else 431
            # The parser stops with an error, for which uvicorn calls `send_400_response`.
            raise ValueError(self._status)
        self._head_bytes = None
        is_upload = any(n == b"content-type" and v.lower().startswith(b"multipart/") for n, v in self.headers)
        self._step_bytes = 0 if is_upload else None
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            answer_unchunked(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Give an upload more time for each step."""
        super().on_body(body)
        if self._step_bytes is not None:
            self._step_bytes += len(body)
            if self._step_bytes >= _UPLOAD_STEP_BYTES:
                self._step_bytes = 0
                self._expect()

    def on_message_complete(self) -> None:
        """Stop to wait: the request is whole."""
        self._settle()
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed."""
        self.refuse(self._status)

    def refuse(self, status: int) -> None:
        """Answer with an error, unless an answer has begun, and close the connection."""
        self._settle()
        if self.transport.is_closing():
            return
        _log.info("request_refused", status=status, code=_REFUSALS[status]["code"])
        if self._may_answer():
            body = orjson.dumps({"error": _REFUSALS[status]})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()

    def _may_answer(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        if self._head_bytes is None:
            return not cycle.response_started
        return cycle is None or cycle.response_complete

    def _expect(self) -> None:
        self._settle()
        self.unfinished[self] = self.loop.call_later(self.request_seconds, self._late)

    def _settle(self) -> None:
        if timer := self.unfinished.pop(self, None):
            timer.cancel()

    def _late(self) -> None:
        # While reading is paused, the service is slow and not the client.
        if self.flow.read_paused:
            self._expect()
        else:
            self.refuse(408)


def bounded_protocol(request_seconds: float, most_unfinished: int) -> type[BoundedHttpProtocol]:
    """Return the protocol class of one server."""
    bounds = {"request_seconds": request_seconds, "most_unfinished": most_unfinished, "unfinished": {}}
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), bounds)
