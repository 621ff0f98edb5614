"""One connection that speaks HTTP/1.1: it reads what comes and nothing more.

A client for everything spends most of a request on what this service does not use: redirects, cookies,
proxies, URLs, a timer for every read. Here a connection holds one response at a time, parsed by httptools.
Failures leave as `UpstreamError`s; no request is ever sent twice.
"""

import asyncio
import socket
import zlib
from collections.abc import Callable
from typing import cast

import httptools

from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
)
from app.core.upstream.lull import Lull

_MOST_BUFFERED_BYTES = 256 * 1024
_GZIP_OR_ZLIB = 47


class Connection(asyncio.Protocol):
    """One connection and the response that it is reading."""

    __slots__ = (
        "_buffered",
        "_drained",
        "_error",
        "_inflate",
        "_is_paused",
        "_is_reusable",
        "_last_read",
        "_loop",
        "_lull",
        "_parser",
        "_pieces",
        "_silence_seconds",
        "_timer",
        "_transport",
        "_waiter",
        "_whole",
        "awaited_after",
        "headers",
        "idle_since",
        "is_complete",
        "is_open",
        "on_body",
        "status",
    )

    def __init__(self, connected: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        # The parser calls this for every chunk of a body, so nothing else happens in it.
        self.on_body = self._pieces.append
        self._whole = 0  # pieces of the response's body, once it is complete
        self._lull = Lull(connected)
        self._inflate: zlib._Decompress | None = None
        self._error: UpstreamError | None = None
        self.awaited_after: Callable[[bytes], int] | None = None
        """See `UpstreamStream.pass_over`; holds until the connection is released."""
        self.headers: dict[str, str] = {}
        self.status = 0
        self.is_complete = True
        self._is_reusable = False
        self.is_open = True
        self.idle_since = 0.0

    def send(self, request: bytes, silence_seconds: float) -> None:
        """Send a whole request, or the head of one; its response may be silent for so long at a time."""
        self._begin(silence_seconds)
        self._transport.write(request)

    async def write(self, data: bytes) -> None:
        """Send more of a request's body, as fast as the upstream takes it."""
        if self._drained is not None:
            await self._drained
        if self._error is not None:
            raise self._error
        self._last_read = self._loop.time()
        self._transport.write(data)

    async def start(self) -> int:
        """Wait for the response's head and return its status."""
        while not self.status and self._error is None:
            await self._wait()
        if not self.status and self._error is not None:
            raise self._error
        return self.status

    async def read(self) -> bytes:
        """Return what has come of the body, waiting for more if nothing has; nothing at its end."""
        while not self._pieces and not self._has_ended():
            await self._wait()
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._buffered = 0
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Break the connection off."""
        self.is_open = False
        self._stop()
        self._transport.abort()

    def can_serve_again(self) -> bool:
        """Tell whether the response was read to its end and the next one may follow; forget it."""
        self._stop()
        return self.is_open and self._is_reusable and not self._pieces

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._parser is None or self.is_complete:
            # Nothing was asked: whatever this is, no later request may take it for its answer.
            self.close()
            return
        self._last_read = self._loop.time()
        unread = len(self._pieces)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(UpstreamBrokenError())
        self._take(unread, len(data))
        if self._buffered > _MOST_BUFFERED_BYTES and self._pieces and not self._is_paused and self.is_open:
            self._is_paused = True
            self._transport.pause_reading()
        if self.awaited_after is None or self._pieces or self._has_ended():
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.is_open = False
        self.resume_writing()
        if not self.is_complete:
            self._end_without_length(exc)
        self._wake()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def on_message_begin(self) -> None:
        """Called by the parser; a second response to one request ends the connection's use."""
        if self.is_complete:
            self.is_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if not self.is_complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        if parser is None or self.is_complete:
            return
        if (status := parser.get_status_code()) < 200:
            self.headers = {}
            return
        self.status = status
        if self.headers.get("content-encoding", "identity") in {"gzip", "deflate"}:
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    def on_message_complete(self) -> None:
        """Called by the parser, after an interim response too."""
        if not self.is_complete:
            self._whole = len(self._pieces)
        self.is_complete = bool(self.status)
        # Asked later, the parser has forgotten it.
        self._is_reusable = self.is_complete and self._parser is not None and self._parser.should_keep_alive()

    def _take(self, unread: int, size: int) -> None:
        """Put together what a read of `size` bytes brought of the body, behind so many unread pieces."""
        pieces = self._pieces
        if self.is_complete:
            del pieces[self._whole :]
        self._buffered += size
        if len(pieces) == unread:
            return
        body = self._unpacked(b"".join(pieces[unread:]))
        ask = self.awaited_after if body and not unread else None
        if ask is not None and (awaited := ask(body)):
            pieces.clear()
            self._buffered = 0
            self._lull.last_until(awaited)
            return
        pieces[unread:] = [body] if body else []
        self._lull.end()

    def _unpacked(self, body: bytes) -> bytes:
        if self._inflate is None:
            return body
        try:
            body = self._inflate.decompress(body)
        except zlib.error:
            self._fail(UpstreamBrokenError())
            return b""
        self._buffered += len(body)
        return body

    def _begin(self, silence_seconds: float) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers = {}
        self._pieces.clear()
        self._buffered = 0
        self._inflate = None
        self._error = None
        self.is_complete = False
        self._is_reusable = False
        self._silence_seconds = silence_seconds
        self._last_read = self._loop.time()
        if silence_seconds:
            self._timer = self._loop.call_later(silence_seconds, self._check_silence)

    def _stop(self) -> None:
        self._parser = None
        # An idle connection would keep its last reader alive.
        self.awaited_after = None
        self._lull.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_silence(self) -> None:
        """Fail when the upstream was silent too long; moved on by one timer, not reset by every read."""
        due = self._last_read + self._silence_seconds
        hears_nothing = self._is_paused or self._lull.is_on
        if hears_nothing or due > self._loop.time():
            pause = self._silence_seconds if hears_nothing else due - self._loop.time()
            self._timer = self._loop.call_later(pause, self._check_silence)
            return
        self._fail(UpstreamTimeoutError())
        self._wake()

    def _has_ended(self) -> bool:
        return self.is_complete or self._error is not None

    def _end_without_length(self, exc: Exception | None) -> None:
        """A body without a length ends with its connection; every other one is cut off."""
        framing = self.headers.keys() & {"content-length", "transfer-encoding"}
        if exc is None and self.status and not framing:
            self.is_complete = True
        else:
            self._fail(UpstreamBrokenError())

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self.is_open = False
        self.resume_writing()
        self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
