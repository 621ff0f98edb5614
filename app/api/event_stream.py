"""Event streams over HTTP: keep-alives, time limits, and what happens when the client disconnects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Protocol

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.disconnect import ClientWatch, uncancel
from app.api.open_streams import StreamRegistry
from app.core.errors import ClientGoneError, ServiceError
from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed
from app.translate.protocols.encoder import Encoder, is_broken_off

_log = structlog.get_logger(__name__)


class EventSource(Protocol):
    """An iterator of batches of domain events; the last event is `RunEnded` or `StreamFailed`."""

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        """Yield batches."""

    def fail(self, error: Json) -> list[DomainEvent]:
        """Return the events that end the stream with an error; the run goes on."""


# Seconds between the last event and the end of a page's stream. A page that reads both at once may handle the
# end first: deep-chat 2 then stays busy for good.
_BROWSER_END_SECONDS = 0.05
_FAILED: Json = ServiceError("The service failed. The failure has been logged.").detail()
_TOO_OLD: Json = ServiceError(
    "The stream reached its longest life. A run in the background goes on: follow its events.",
    code="stream_max_seconds",
).detail()


class EventStreamResponse(Response):
    """Encodes and sends a source's events, one write for each batch.

    Args:
        source: the events of a run that exists already, so that earlier failures had a status of their own.
        encoder: the protocol.
        registry: holds the stream while it is open; the request has taken its place before.
        watches: whether the stream ends when the client disconnects; else the source is read to its end.
        on_gone: called when the client disconnects before the run's end.
        on_end: always awaited last; closes the upstream connection.
        headers: added to the encoder's.

    """

    def __init__(
        self,
        source: EventSource,
        encoder: Encoder,
        registry: StreamRegistry,
        *,
        watches: bool,
        on_gone: Callable[[], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=encoder.media_type, headers=dict(encoder.headers) | dict(headers))
        del self.headers["content-length"]
        self._source = source
        self._encoder = encoder
        self._registry = registry
        self._watches = watches
        self._on_gone = on_gone
        self._on_end = on_end
        self._interruption: Json | None = None
        self._is_slow = False
        self._end_reason = "finished"
        self._last_sent = self._started = asyncio.get_running_loop().time()
        self._sending_since: float | None = None
        self._is_for_a_page = False
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and clean up however it ends."""
        self._send = send
        self._task = asyncio.current_task()
        # Browsers send this header with every POST; other clients do not.
        self._is_for_a_page = b"origin" in dict(scope["headers"])
        self._registry.add(self)
        try:
            async with ClientWatch(receive) if self._watches else nullcontext():
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await self._pump()
        except ClientGoneError:
            if not self._is_told:
                self._end_reason = "client_gone"
                await self._on_gone()
        except asyncio.CancelledError:
            self._end_reason = "slow_reader" if self._is_slow else "interrupted"
            # Neither the timer nor the registry asked for it, so the server itself stops this task.
            if not (self._is_slow or self._interruption):
                await asyncio.shield(self._on_gone())
                raise
            uncancel()
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
            self._registry.leave(scope)
            await self._on_end()

    def tick(self, now: float, keepalive_seconds: float, slow_seconds: float, max_seconds: float) -> None:
        """Send a keep-alive or end the stream, whichever is due; called about twice a second."""
        if self._sending_since is not None:
            # The client has not read the last write, and holds memory and an upstream connection.
            if now - self._sending_since > slow_seconds:
                self._is_slow = True
                self._cancel()
        elif now - self._started > max_seconds:
            self.interrupt(_TOO_OLD)
        elif now - self._last_sent >= keepalive_seconds and self._encoder.keepalive:
            self._last_sent = now
            # Not awaited: one slow client must not delay the ticks of the others.
            self._keepalive = asyncio.ensure_future(self._send(_body(self._encoder.keepalive)))

    def interrupt(self, error: Json) -> None:
        """End the stream with an error event; the run goes on."""
        if self._interruption is None and not self._is_told:
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
        # The client has had the last event of this run before, so only the end is left to send.
        await self._end(self._encoder.close())

    async def _finish(self, data: bytes, last: DomainEvent) -> None:
        if self._encoder.aborts_on_failure and is_broken_off(last):
            await self._write(data)
            raise StreamBrokenOffError
        await self._end(data + self._encoder.close())

    async def _end(self, data: bytes) -> None:
        if self._is_for_a_page:
            await self._write(data)
            self._is_told = True
            await asyncio.sleep(_BROWSER_END_SECONDS)
            data = b""
        await self._write(data, more=False)

    async def _cut_short(self) -> None:
        if self._interruption is None:
            await (self._on_gone() if self._watches else self._read_on())
            return
        events = self._source.fail(self._interruption)
        await self._finish(b"".join(map(self._encoder.encode, events)), events[-1])

    async def _read_on(self) -> None:
        """Read the source to its end after the client is gone, so that the run completes."""
        self._sending_since = None
        with suppress(asyncio.CancelledError):
            async for _ in self._source:
                continue

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self._sending_since = loop.time()
        await self._send(_body(data, more=more))
        self._last_sent, self._sending_since = self._sending_since, None

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()


class StreamBrokenOffError(Exception):
    """The protocol cannot express a failure, so the connection is aborted instead of closed in order."""


def _body(data: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}
