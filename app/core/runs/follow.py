"""One run's upstream stream, followed to its end whatever happens to the connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog

from app.core.errors import ServiceError
from app.core.observability.run_metrics import RunMeasurement
from app.core.runs.deadline import Deadline
from app.core.runs.reconnects import Reconnects
from app.core.upstream.errors import UpstreamBrokenError, UpstreamError, UpstreamTimeoutError
from app.core.upstream.port import UpstreamStream
from app.core.upstream.responses import Responses
from app.core.upstream.retries import retry_when_busy
from app.translate.events import DomainEvent, Json, StreamFailed, TextDelta
from app.translate.objects import LIVE
from app.translate.run_translator import RunTranslator
from app.translate.upstream_types import MalformedEventError
from app.utils.sse import SSEDecoder

_log = structlog.get_logger(__name__)


class RunStream:
    """Batches of domain events, one batch for what one upstream read brought.

    A background response lives on when its stream breaks, so the stream is opened again after the last event
    seen; a foreground one is looked up once. Whatever happens, the last is `RunEnded` or `StreamFailed`.

    Args:
        responses: to look the response up, follow it again, and cancel it.
        translator: makes events of what the upstream sends.
        stream: the open upstream stream.
        meter: what the run leaves behind for its operator.
        in_background: the response goes on without its stream.
        deadline: when the run expires, on the loop's clock.
        on_expired: told the response that expired.
        is_ours: the run was started here; else it is only watched, and a broken stream does not stop it.

    """

    def __init__(
        self,
        responses: Responses,
        translator: RunTranslator,
        stream: UpstreamStream,
        *,
        meter: RunMeasurement,
        in_background: bool,
        deadline: float,
        on_expired: Callable[[str], None] | None = None,
        is_ours: bool = True,
    ) -> None:
        self._responses = responses
        self._translator = translator
        self._meter = meter
        self._in_background = in_background
        self._deadline = Deadline(deadline)
        self._on_expired = on_expired
        self._is_ours = is_ours
        self._reconnects = Reconnects()
        self._first: list[DomainEvent] = []
        self._attach(stream)

    @property
    def response_id(self) -> str | None:
        """The upstream response, once the upstream named it."""
        return self._translator.response["id"] if self._translator.response else None

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        return self._translator.public_ids

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event was produced."""
        return self._translator.is_ended

    async def prime(self, before: list[DomainEvent]) -> None:
        """Read on until the run exists; raises the failure that kept it from existing.

        `before` are events that go ahead of the upstream's.
        """
        while not self._first and self._translator.response is None:
            self._first = await self._next()
        if self._first and isinstance(failed := self._first[0], StreamFailed):
            raise self._failure or _restored(failed.error)
        if self._is_ours:
            self._meter.created()
        self._first = before + self._first

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        return self

    async def __anext__(self) -> list[DomainEvent]:
        events, self._first = self._first, []
        while not events:
            if self._translator.is_ended:
                raise StopAsyncIteration
            events = await self._next()
        return events

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream from this side with an error; the run itself is not touched."""
        self._translator.is_ended = True
        return [StreamFailed(error)]

    async def settled(self) -> Json:
        """Return the response: as it stands where it goes on in the background, else when it has ended."""
        if not self._in_background:
            await self.leave()
        if self._translator.response is None:
            raise UpstreamBrokenError
        return self._translator.response

    async def cancel(self) -> None:
        """Stop the run upstream; closing a foreground stream is all that can be done for one."""
        if self.response_id and self._in_background and not self.is_ended:
            try:
                await self._responses.cancel(self.response_id)
            except UpstreamError as exc:
                _log.warning("run_not_cancelled", code=exc.code)

    async def leave(self) -> None:
        """Let the run go on unread: a foreground response is read to its end here, or its turn is lost."""
        if not self._in_background:
            async for _ in self:
                continue

    async def aclose(self) -> None:
        """Give the upstream connection up."""
        self._meter.left(self._translator.response)
        self._deadline.cancel()
        await self._detach()

    def _attach(self, stream: UpstreamStream) -> None:
        self._stream = stream
        self._reads = aiter(stream)
        self._reading: asyncio.Future[bytes] | None = None
        self._decoder = SSEDecoder()
        self._failure: UpstreamError | None = None
        self._is_garbled = False

    async def _detach(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._stream.aclose()

    async def _next(self) -> list[DomainEvent]:
        if self._is_garbled:
            return await self._recover(UpstreamBrokenError())
        try:
            chunk = await self._deadline.within(self._read)
        except StopAsyncIteration:
            return await self._recover(UpstreamBrokenError())
        except TimeoutError:
            return await self._expire()
        except UpstreamError as exc:
            return await self._recover(exc)
        events: list[DomainEvent] = []
        try:
            for name, data in self._decoder.feed(chunk):
                events += self._translator.feed(name, data)
        except (MalformedEventError, ValueError):
            # What came before it is not kept waiting for what comes of it.
            self._is_garbled = True
        if self._meter.awaits_text and any(isinstance(event, TextDelta) for event in events):
            self._meter.first_text()
        return events

    async def _read(self) -> bytes:
        if self._in_background:
            return await anext(self._reads)
        # A reader who goes away must not break the read off: `leave` still needs the rest of the stream.
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._reads))
        chunk = await asyncio.shield(self._reading)
        self._reading = None
        return chunk

    async def _recover(self, failure: UpstreamError) -> list[DomainEvent]:
        await self._detach()
        self._meter.broke(failure.code)
        self._failure = failure
        translator = self._translator
        if translator.is_ended:
            return []
        if self.response_id is None:
            return translator.fail(failure.detail())
        try:
            response = await self._deadline.within(partial(self._resumed, self.response_id))
            if response is None:
                return []
            if response.get("status") not in LIVE:
                return translator.finish(response)
        except TimeoutError:
            return await self._expire()
        except UpstreamError as exc:
            _log.warning("stream_not_recovered", code=exc.code)
        if not self._is_ours:
            return self.fail(failure.detail())
        await self.cancel()
        _log.warning("run_failed_by_upstream", code=failure.code)
        return translator.fail(failure.detail())

    async def _resumed(self, response_id: str) -> Json | None:
        """Go on after the last event, also where the response has ended: only there the rest has numbers.

        Returns the response where it is not to be followed any more, else None.
        """
        while True:
            response = await retry_when_busy(partial(self._responses.get, response_id))
            status, seen = response.get("status"), self._translator.last_sequence
            # Only in the background is there more to come, and the stream of a cancelled response just ends.
            is_over = not self._in_background or status == "cancelled"
            if is_over or not self._reconnects.allow(status, seen, self._failure):
                return response
            try:
                self._attach(
                    await retry_when_busy(partial(self._responses.follow, response_id, starting_after=seen))
                )
            except UpstreamTimeoutError as exc:
                self._failure = exc
            except UpstreamError as exc:
                _log.warning("stream_not_reopened", code=exc.code)
                return response
            else:
                return None

    async def _expire(self) -> list[DomainEvent]:
        response_id = self.response_id
        await self._detach()
        await self.cancel()
        if response_id is None:
            self._failure = UpstreamTimeoutError()
            return self._translator.fail(self._failure.detail())
        if self._on_expired:
            self._on_expired(response_id)
        return self._translator.fail({}, status="expired")


def _restored(error: Json) -> ServiceError:
    return UpstreamError(error["message"], code=error["code"], headers={"x-should-retry": "false"})
