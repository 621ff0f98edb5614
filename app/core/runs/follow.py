"""One run's upstream stream, followed to its end whatever happens to the connection."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

import structlog

from app.core.errors import ServiceError
from app.core.observability.run_metrics import RunMeasurement
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamMissingError,
    UpstreamRefusedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import UpstreamStream
from app.core.upstream.responses import Responses
from app.translate.events import DomainEvent, Json, StreamFailed, TextDelta
from app.translate.objects import LIVE
from app.translate.run_translator import RunTranslator
from app.translate.upstream_types import MalformedEventError
from app.utils.sse import SSEDecoder

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_OUTAGE_SECONDS = 60.0
"""How long a background run waits for an upstream that answers nothing of use."""

_PASSING = (
    UpstreamUnreachableError,
    UpstreamBrokenError,
    UpstreamTimeoutError,
    UpstreamServerError,
    UpstreamBusyError,
)
"""Failures of an upstream that is away for a while, or overloaded."""


OnClosed = Callable[["ForegroundStream", str | None], None]


class RunStream(ABC):
    """Batches of domain events, one batch for what one upstream read brought.

    Whatever happens, the last event is `RunEnded` or `StreamFailed`.

    Args:
        translator: makes events of what the upstream sends.
        stream: the open upstream stream.
        measurement: counts and traces the run.
        deadline: when the run expires, on the loop's clock.

    """

    in_background: ClassVar[bool]
    """Whether the run goes on without this stream."""

    def __init__(
        self,
        translator: RunTranslator,
        stream: UpstreamStream,
        *,
        measurement: RunMeasurement,
        deadline: float,
    ) -> None:
        self._translator = translator
        self._measurement = measurement
        self._deadline = deadline
        self._timeout: asyncio.Timeout | None = None
        self._first: list[DomainEvent] = []
        self._failure: UpstreamError | None = None
        self._attach(stream)

    @property
    def response(self) -> Json | None:
        """The upstream response as it was shown last; None until it exists."""
        return self._translator.response

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        return self._translator.public_ids

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event was produced."""
        return self._translator.is_ended

    async def prime(self) -> None:
        """Read on until the run exists; raises the failure that kept it from existing."""
        while not self._first and self._translator.response is None:
            self._first = await self._next()
        if self._first and isinstance(failed := self._first[0], StreamFailed):
            raise self._failure or _restored(failed.error)

    def put_first(self, events: list[DomainEvent]) -> None:
        """Let events go ahead of the upstream's."""
        self._first = events + self._first

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
        """End the stream from this side with an error event."""
        self._translator.is_ended = True
        return [StreamFailed(error)]

    @abstractmethod
    async def cancel(self) -> None:
        """Stop the run, and follow it no more."""

    async def aclose(self) -> None:
        """Give the upstream connection up; closing twice is harmless."""
        self._measurement.left(self.response)
        await self._stream.aclose()

    def _attach(self, stream: UpstreamStream) -> None:
        self._stream = stream
        self._reads = aiter(stream)
        self._decoder = SSEDecoder()
        self._is_garbled = False

    async def _next(self) -> list[DomainEvent]:
        """Return the events of the next upstream read, none where it completed none."""
        if self._is_garbled:
            return await self._broken(UpstreamBrokenError())
        try:
            async with asyncio.timeout_at(self._deadline) as self._timeout:
                chunk = await anext(self._reads)
        except StopAsyncIteration:
            return await self._broken(UpstreamBrokenError())
        except TimeoutError:
            return await self._timed_out()
        except UpstreamError as exc:
            return await self._broken(exc)
        finally:
            self._timeout = None
        return self._translated(chunk)

    def _translated(self, chunk: bytes) -> list[DomainEvent]:
        events: list[DomainEvent] = []
        try:
            for name, data in self._decoder.feed(chunk):
                events += self._translator.feed(name, data)
        except (MalformedEventError, ValueError):
            # What came before it is not kept waiting for what comes of it.
            self._is_garbled = True
        if self._measurement.awaits_text:
            for event in events:
                if isinstance(event, TextDelta):
                    self._measurement.first_text()
                    break
        return events

    @abstractmethod
    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        """Return what follows a stream that broke off before its end."""

    @abstractmethod
    async def _timed_out(self) -> list[DomainEvent]:
        """Return what follows the run's deadline."""


class ForegroundStream(RunStream):
    """The stream of a response that ends with it: closing the connection is how it is cancelled.

    Args:
        on_closed: called once, with the stream and, if the upstream did not end it, the status of its run.

    """

    in_background = False

    def __init__(
        self,
        translator: RunTranslator,
        stream: UpstreamStream,
        *,
        measurement: RunMeasurement,
        deadline: float,
        on_closed: OnClosed,
    ) -> None:
        super().__init__(translator, stream, measurement=measurement, deadline=deadline)
        self._on_closed: OnClosed | None = on_closed
        self._status_if_closed: str | None = "cancelled"
        self._is_stopped = False
        self._closed = asyncio.Event()

    async def cancel(self) -> None:
        """Stop the run; whoever reads the stream gets its end as a cancelled run."""
        self._is_stopped = True
        if self._timeout is None:
            await self.aclose()
        else:
            # The reader's wait for the upstream is over, and it closes the stream.
            self._timeout.reschedule(asyncio.get_running_loop().time())
            await self._closed.wait()

    async def aclose(self) -> None:
        """Close the upstream's connection; an unfinished response stops there."""
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            # Before the upstream unlocks the conversation, so that no next turn slips in.
            on_closed(self, self._status_if_closed)
        await super().aclose()
        self._closed.set()

    def said(self) -> list[Json]:
        """Return the assistant's messages so far, in the upstream's form."""
        return self._translator.said()

    async def _next(self) -> list[DomainEvent]:
        return await (self._stopped() if self._is_stopped else super()._next())

    async def _stopped(self) -> list[DomainEvent]:
        await self.aclose()
        return self._translator.fail({}, status="cancelled")

    def _translated(self, chunk: bytes) -> list[DomainEvent]:
        events = super()._translated(chunk)
        if self._translator.is_ended:
            self._status_if_closed = None
        return events

    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        self._measurement.broke(failure.code)
        self._failure = failure
        self._status_if_closed = "failed"
        await self.aclose()
        _log.warning("run_failed_by_upstream", code=failure.code)
        return self._translator.fail(failure.detail())

    async def _timed_out(self) -> list[DomainEvent]:
        if self._is_stopped:
            return await self._stopped()
        self._failure = UpstreamTimeoutError()
        self._status_if_closed = "expired"
        await self.aclose()
        return self._translator.fail(self._failure.detail(), status="expired")


class BackgroundStream(RunStream):
    """The stream of a response that lives on without it: when it breaks, it is opened again or polled.

    Args:
        responses: to look the response up, follow it again, and cancel it.
        on_expired: told the id of a response that expired.
        is_ours: the run was started here; else it is only watched, and a stream that fails does not stop it.

    """

    in_background = True

    def __init__(
        self,
        translator: RunTranslator,
        stream: UpstreamStream,
        responses: Responses,
        *,
        measurement: RunMeasurement,
        deadline: float,
        on_expired: Callable[[str], None],
        is_ours: bool = True,
    ) -> None:
        super().__init__(translator, stream, measurement=measurement, deadline=deadline)
        self._responses = responses
        self._on_expired = on_expired
        self._is_ours = is_ours
        self._can_reopen = True
        self._reopened_after: int | None = None
        self._pause_seconds = 0.0

    async def cancel(self) -> None:
        """Stop the run upstream, unless it has ended."""
        # The connection goes first, where many clients leave at once.
        await self.aclose()
        if self.response is not None and not self.is_ended:
            try:
                await self._responses.cancel(self.response["id"])
            except UpstreamError as exc:
                _log.warning("run_not_cancelled", code=exc.code)

    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        await self._stream.aclose()
        self._measurement.broke(failure.code)
        self._failure = failure
        if self.response is None or self.is_ended:
            return self._translator.fail(failure.detail())
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._rejoined(self.response["id"])
        except TimeoutError:
            return await self._timed_out()
        except UpstreamError as exc:
            _log.warning("stream_not_recovered", code=exc.code)
            if not self._is_ours or _is_passing(exc):
                return self.fail(failure.detail())
        await self.cancel()
        return self._translator.fail(failure.detail())

    async def _rejoined(self, response_id: str) -> list[DomainEvent]:
        """Go on after the last event: with the stream opened again, else with the response once it has ended.

        Raises the upstream's failure when it lasts too long, or says that the response is gone.
        """
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        if self._translator.last_sequence != self._reopened_after:
            self._pause_seconds = 0.0
        while True:
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(
                max(self._pause_seconds * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS
            )
            try:
                response = await self._responses.get(response_id)
            except UpstreamError as exc:
                away_since = away_since or loop.time()
                if not _is_passing(exc) or loop.time() - away_since > _LONGEST_OUTAGE_SECONDS:
                    raise
                continue
            away_since = None
            if await self._reopened(response):
                return []
            if response.get("status") not in LIVE:
                return self._translator.finish(response)

    async def _reopened(self, response: Json) -> bool:
        """Open the stream again after the last event, unless the upstream refuses or events have no numbers.

        A response that has ended is followed too: only its stream numbers the events that are left.
        """
        seen = self._translator.last_sequence
        is_over = response.get("status") not in LIVE and seen == self._reopened_after
        if not self._can_reopen or seen is None or is_over or response.get("status") == "cancelled":
            return False
        try:
            self._attach(await self._responses.follow(response["id"], starting_after=seen))
        except (UpstreamRefusedError, UpstreamMissingError) as exc:
            self._can_reopen = False
            _log.info("stream_not_reopened", code=exc.code, now="polling")
            return False
        except UpstreamError as exc:
            if not _is_passing(exc):
                raise
            return False
        self._reopened_after = seen
        return True

    async def _timed_out(self) -> list[DomainEvent]:
        response = self.response
        await self.cancel()
        if response is None:
            self._failure = UpstreamTimeoutError()
            return self._translator.fail(self._failure.detail())
        self._on_expired(response["id"])
        return self._translator.fail({}, status="expired")


def _is_passing(failure: UpstreamError) -> bool:
    """Tell whether the same call may succeed later."""
    return isinstance(failure, _PASSING) and not isinstance(failure, UpstreamMalformedError)


def _restored(error: Json) -> ServiceError:
    return UpstreamError(error["message"], code=error["code"], headers={"x-should-retry": "false"})
