"""Streams over HTTP: what keeps them alive, what ends them, and what happens when their client goes away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from app.core.callers import Caller
from app.core.errors import (
    ClientGoneError,
    OverloadedError,
    RateLimitedError,
    ServiceError,
    ShuttingDownError,
)
from app.translate.encoding import Encoder, is_broken_off
from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed

_log = structlog.get_logger(__name__)
_TICK_SECONDS = 0.5


class EventSource(Protocol):
    """Batches of domain events that end with `RunEnded` or `StreamFailed`."""

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        """Yield batches."""

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream from this side; the run itself is not touched."""


class StreamRegistry:
    """Every open stream of this process, and the one timer that they share.

    One timer instead of one per stream: at ten thousand streams that is the difference between a tick and a
    flood.
    """

    def __init__(
        self,
        *,
        max_streams: int,
        max_per_holder: int,
        keepalive_seconds: float,
        slow_reader_seconds: float,
        max_seconds: float,
    ) -> None:
        self._max_streams = max_streams
        self._max_per_holder = max_per_holder
        self._held: dict[str, int] = {}
        self._keepalive_seconds = keepalive_seconds
        self._slow_reader_seconds = slow_reader_seconds
        self._max_seconds = max_seconds
        self._streams: set[EventStreamResponse] = set()
        self._reserved = 0
        self.ended: Counter[str] = Counter()
        """Streams by how they ended."""
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    @property
    def max_streams(self) -> int:
        """How many places there are."""
        return self._max_streams

    @property
    def open_streams(self) -> int:
        """How many places are taken."""
        return self._reserved

    def enter(self, holder: str | None = None) -> None:
        """Take a place for one run or stream; raises at once where there is none, in all or for a holder."""
        if self.is_draining:
            raise ShuttingDownError
        if self._reserved >= self._max_streams:
            raise OverloadedError
        if holder is not None:
            if self._held.get(holder, 0) >= self._max_per_holder:
                raise _too_many_streams(self._max_per_holder)
            self._held[holder] = self._held.get(holder, 0) + 1
        self._reserved += 1
        self._idle.clear()

    def leave(self, holder: str | None = None) -> None:
        """Give the place back."""
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        self._reserved -= 1
        if not self._reserved:
            self._idle.set()

    def add(self, stream: "EventStreamResponse") -> None:
        """Take a stream under the timer."""
        self._streams.add(stream)

    def discard(self, stream: "EventStreamResponse", reason: str) -> None:
        """Release it, and count how it ended."""
        self._streams.discard(stream)
        self.ended[reason] += 1

    async def run(self) -> None:
        """Tick for ever: keep silent streams alive, drop slow readers, end streams that are too old."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            for stream in list(self._streams):
                stream.tick(now, self._keepalive_seconds, self._slow_reader_seconds, self._max_seconds)

    async def drain(self, grace_seconds: float) -> None:
        """Take no new work, let open streams finish for so long, then end the rest with a terminal event."""
        self.is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        for stream in list(self._streams):
            stream.interrupt(_SHUTTING_DOWN)


_FAILED: Json = ServiceError("The service failed. The failure has been logged.").detail()
_SHUTTING_DOWN: Json = ShuttingDownError().detail()
_TOO_OLD: Json = {
    "message": "The stream reached its longest life. The run goes on: follow it through its events.",
    "type": "server_error",
    "param": None,
    "code": "stream_max_seconds",
}


def holder_of(scope: AsgiScope) -> str | None:
    """Return whose streams a request's stream counts among."""
    caller: Caller | None = scope["state"].get("caller")
    return caller.stream_holder if caller else None


def _too_many_streams(limit: int) -> RateLimitedError:
    return RateLimitedError(
        f"{limit} answers are under way for this caller already. Let one of them end.",
        code="too_many_streams",
        headers={"retry-after": "2"},
    )


class EventStreamResponse(Response):
    """Sends a source through an encoder: one write for what one upstream read brought.

    Args:
        source: the events; its run exists already, so every earlier failure had its own status.
        encoder: the protocol.
        registry: where the stream is kept; its place was taken before.
        on_gone: what happens to the run when the client leaves before its end.
        on_end: always awaited last; gives the upstream connection up.
        headers: added to the encoder's.

    """

    def __init__(
        self,
        source: EventSource,
        encoder: Encoder,
        registry: StreamRegistry,
        *,
        on_gone: Callable[[], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=encoder.media_type, headers=dict(encoder.headers) | dict(headers))
        del self.headers["content-length"]
        self._source = source
        self._encoder = encoder
        self._registry = registry
        self._on_gone = on_gone
        self._on_end = on_end
        self._interruption: Json | None = None
        self._is_slow = False
        self._end_reason = "finished"
        self._last_sent = self._started = asyncio.get_running_loop().time()
        self._sending_since: float | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send everything, watching for the client's leave."""
        self._send = send
        self._task = asyncio.current_task()
        self._registry.add(self)
        try:
            async with ClientWatch(receive):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await self._pump()
        except ClientGoneError:
            self._end_reason = "client_gone"
            await self._on_gone()
        except asyncio.CancelledError:
            self._end_reason = "slow_reader" if self._is_slow else "interrupted"
            if not (self._is_slow or self._interruption):
                await asyncio.shield(self._on_gone())
                raise
            _uncancel()
            await self._cut_short()
        except StreamBrokenOffError:
            raise
        except Exception:
            self._end_reason = "interrupted"
            self._interruption = _FAILED
            await self._cut_short()
            raise
        finally:
            self._registry.discard(self, self._end_reason)
            self._registry.leave(holder_of(scope))
            await self._on_end()

    def tick(self, now: float, keepalive_seconds: float, slow_seconds: float, max_seconds: float) -> None:
        """Look after the stream; called about twice a second."""
        if self._sending_since is not None:
            if now - self._sending_since > slow_seconds:
                self._is_slow = True
                self._cancel()
        elif now - self._started > max_seconds:
            self.interrupt(_TOO_OLD)
        elif now - self._last_sent >= keepalive_seconds and self._encoder.keepalive:
            self._last_sent = now
            self._keepalive = asyncio.ensure_future(self._send(_body(self._encoder.keepalive)))

    def interrupt(self, error: Json) -> None:
        """End the stream from this side with an error event; the run goes on."""
        if self._interruption is None:
            self._interruption = error
            self._cancel()

    async def _pump(self) -> None:
        encode = self._encoder.encode
        async for events in self._source:
            data = b"".join(map(encode, events)) if len(events) > 1 else encode(events[0])
            last = events[-1]
            if isinstance(last, RunEnded | StreamFailed):
                await self._finish(data, last)
                return
            if data:
                await self._write(data)
        # A reader that has had the terminal event already came back: nothing is left but the end.
        await self._write(self._encoder.close(), more=False)

    async def _finish(self, data: bytes, last: DomainEvent) -> None:
        if self._encoder.aborts_on_failure and is_broken_off(last):
            await self._write(data)
            raise StreamBrokenOffError
        await self._write(data + self._encoder.close(), more=False)

    async def _cut_short(self) -> None:
        if self._interruption is None:
            await self._on_gone()
            return
        events = self._source.fail(self._interruption)
        await self._finish(b"".join(map(self._encoder.encode, events)), events[-1])

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self._sending_since = loop.time()
        await self._send(_body(data, more=more))
        self._last_sent, self._sending_since = self._sending_since, None

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()


class StreamBrokenOffError(Exception):
    """The protocol has no word for a failure: the connection is broken off, not closed as if all was well."""


def _body(data: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class ClientWatch:
    """Cancels the code inside its block when the client goes away, and says so by `ClientGoneError`.

    The request's body must have been read: what `receive` gives after that is only the disconnect.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_gone = False

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._watch = asyncio.create_task(self._wait())

    async def __aexit__(self, kind: type[BaseException] | None, _exc: object, _trace: object) -> None:
        self._watch.cancel()
        if self._is_gone:
            _uncancel()
            if kind is None or issubclass(kind, asyncio.CancelledError):
                raise ClientGoneError

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._is_gone = True
        if self._task:
            self._task.cancel()


def _uncancel() -> None:
    """Take back the cancellations that this module asked for, so that cleaning up can await."""
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()
