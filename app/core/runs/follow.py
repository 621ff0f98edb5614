"""Follows the upstream stream of one run to its end, also when the connection breaks."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import structlog

from app.core.observability.run_metrics import RunMeasurement
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamTimeoutError,
    error_for,
    error_told,
)
from app.core.upstream.port import UpstreamStream
from app.translate.events import DomainEvent, Json, StreamFailed, TextDelta
from app.translate.failures import failure_for
from app.translate.run_translator import RunTranslator
from app.translate.upstream_types import ErrorEventError, MalformedEventError
from app.utils.sse import SSEDecoder

_log = structlog.get_logger(__name__)


class FollowedRun(Protocol):
    """Batches of domain events of one run; the last event is `RunEnded` or `StreamFailed`."""

    @property
    def in_background(self) -> bool:
        """Whether the run goes on without this object."""

    @property
    def response(self) -> Json | None:
        """The latest state of the upstream response; None until it exists."""

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""

    def put_first(self, events: list[DomainEvent]) -> None:
        """Yield these events before those of the run."""

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        """Return itself."""

    async def __anext__(self) -> list[DomainEvent]:
        """Return the next batch."""

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own."""

    async def cancel(self) -> None:
        """Stop the run."""

    async def aclose(self) -> None:
        """Close what is open; closing twice is harmless."""


@dataclass(eq=False)
class RunStream(ABC):
    """Batches of domain events, one batch for each upstream read that completed an event.

    The last event is always `RunEnded` or `StreamFailed`.

    Args:
        translator: turns upstream events into domain events.
        upstream: the open upstream stream.
        measurement: counts and traces the run.
        deadline: when the run expires, on the loop's clock.

    """

    in_background: ClassVar[bool]
    """Whether the run goes on without this stream."""

    translator: RunTranslator
    upstream: UpstreamStream
    measurement: RunMeasurement
    deadline: float
    _first: list[DomainEvent] = field(default_factory=list, init=False)
    _failure: UpstreamError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._attach(self.upstream)

    @property
    def response(self) -> Json | None:
        """The latest state of the upstream response; None until it exists."""
        return self.translator.response

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        return self.translator.public_ids

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self.translator.is_ended

    async def prime(self) -> None:
        """Read until the run exists; raises the `ServiceError` if it fails to start."""
        while not self._first and self.translator.response is None:
            self._first = await self._next()
        if self._first and isinstance(failed := self._first[0], StreamFailed):
            raise self._failure or error_told(failed.error)

    def put_first(self, events: list[DomainEvent]) -> None:
        """Yield these events before those of the upstream."""
        self._first = events + self._first

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        return self

    async def __anext__(self) -> list[DomainEvent]:
        events, self._first = self._first, []
        while not events:
            if self.translator.is_ended:
                raise StopAsyncIteration
            events = await self._next()
        return events

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own; `error` is the inside of an error envelope."""
        self.translator.is_ended = True
        return [StreamFailed(error)]

    @abstractmethod
    async def cancel(self) -> None:
        """Stop the run and close the stream."""

    async def aclose(self) -> None:
        """Close the upstream connection; closing twice is harmless."""
        self.measurement.left(self.response)
        await self.upstream.aclose()

    def _attach(self, stream: UpstreamStream) -> None:
        self.upstream = stream
        self._reads = aiter(stream)
        self._decoder = SSEDecoder()
        self._garbled: UpstreamError | None = None

    async def _next(self) -> list[DomainEvent]:
        """Return the events of the next upstream read; an empty list if it completed none."""
        if self._garbled:
            return await self._broken(self._garbled)
        try:
            chunk = await anext(self._reads)
        except StopAsyncIteration:
            return await self._broken(UpstreamBrokenError())
        except UpstreamDeadlineError:
            return await self._timed_out()
        except UpstreamError as exc:
            return await self._broken(exc)
        return self._translated(chunk)

    def _translated(self, chunk: bytes) -> list[DomainEvent]:
        events: list[DomainEvent] = []
        try:
            for name, data in self._decoder.feed(chunk):
                events += self.translator.feed(name, data)
        # The events before it go out now; the next read deals with the broken stream.
        except ErrorEventError as exc:
            self._garbled = error_for(failure_for(exc.code))
        except (MalformedEventError, ValueError):
            self._garbled = UpstreamBrokenError()
        if self.measurement.awaits_text:
            for event in events:
                if isinstance(event, TextDelta):
                    self.measurement.first_text()
                    break
        return events

    @abstractmethod
    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        """Return the events to go on with after the stream broke before its end."""

    @abstractmethod
    async def _timed_out(self) -> list[DomainEvent]:
        """Return the events that end a run whose deadline has passed."""


@dataclass(eq=False)
class ForegroundStream(RunStream):
    """The stream of a foreground response, which closing the connection cancels.

    Args:
        on_closed: called once with this stream, and with the run's status unless the upstream ended the run.

    """

    in_background = False

    on_closed: Callable[["ForegroundStream", str | None], None]
    _is_closed: bool = field(default=False, init=False)
    _status_if_closed: str | None = field(default="cancelled", init=False)
    _is_stopped: bool = field(default=False, init=False)

    async def cancel(self) -> None:
        """Stop the run; a reader of the stream gets the end of a cancelled run."""
        # A reader that waits for the upstream finds the connection closed, and then this.
        self._is_stopped = True
        await self.aclose()

    async def aclose(self) -> None:
        """Close the upstream connection, which stops an unfinished response."""
        if not self._is_closed:
            self._is_closed = True
            # Before the upstream unlocks the conversation: the next turn must already find this one held.
            self.on_closed(self, self._status_if_closed)
        await super().aclose()

    async def _next(self) -> list[DomainEvent]:
        return await (self._stopped() if self._is_stopped else super()._next())

    async def _stopped(self) -> list[DomainEvent]:
        await self.aclose()
        return self.translator.fail({}, status="cancelled")

    def _translated(self, chunk: bytes) -> list[DomainEvent]:
        events = super()._translated(chunk)
        if self.translator.is_ended:
            self._status_if_closed = None
        return events

    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        if self._is_stopped:
            return await self._stopped()
        self.measurement.broke(failure.code)
        self._failure = failure
        self._status_if_closed = "failed"
        await self.aclose()
        _log.warning("run_failed_by_upstream", code=failure.code)
        return self.translator.fail(failure.detail())

    async def _timed_out(self) -> list[DomainEvent]:
        self._failure = UpstreamTimeoutError()
        self._status_if_closed = "expired"
        await self.aclose()
        return self.translator.fail(self._failure.detail(), status="expired")
