"""What all who follow a response's stream share: which events they read, and how they fail."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, StreamFailed
from app.translate.objects import message_object, message_sources
from app.translate.upstream_types import (
    UNREADABLE,
    UPSTREAM_FAILED,
    MalformedEventError,
    UpstreamEvent,
    decode,
    name_of,
)
from app.utils.sse import Middle


class ResponseReader(ABC):
    """Makes domain events of one response's stream.

    Args:
        context: how the run is named and shown.

    """

    kinds: Mapping[bytes, str]
    """The upstream events that are read, by their names as they are sent."""

    wanted: re.Pattern[bytes] | None = None
    """What matches the names of the upstream events to feed; None for all."""

    middle: Middle | None = None
    """What tells of many upstream events at a glance that none is to be fed."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.response: Json | None = None
        """The latest snapshot of the response that the upstream sent."""
        self.last_sequence: int | None = None
        self.last_unread = b""
        """Data of the last event that was fed and not read."""
        self.is_ended = False

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        if self.response is None:
            return None
        context = self._context
        return context.thread_id, context.ids.run(context.first_response_id or self.response["id"])

    def feed(self, name: bytes, data: bytes) -> list[DomainEvent]:
        """Translate one upstream event; after a `MalformedEventError` the stream cannot be trusted."""
        if self.is_ended:
            return []
        event, kind = (None, self.kinds.get(name)) if name else self._unnamed(data)
        if kind is None:
            self.last_unread = data
            return []
        try:
            event = event or decode(data)
            events = self._translate(kind, event)
        except UNREADABLE as exc:
            raise MalformedEventError(kind) from exc
        if event.sequence_number is not None:
            self.last_sequence = event.sequence_number
            if events:
                events[-1].sequence = event.sequence_number
        return events

    def _unnamed(self, data: bytes) -> tuple[UpstreamEvent | None, str | None]:
        """Return the event whose name stands in its data only, unless only that can be read, and its kind."""
        try:
            event = decode(data)
        except UNREADABLE:
            event = None
        name = event.type if event is not None and event.type else name_of(data)
        return event, self.kinds.get(name.encode())

    def end_of(self, chunk: bytes) -> list[DomainEvent]:
        """Return the run's end if this slice of the stream alone tells it: the rest can stay unread."""
        return []

    @abstractmethod
    def finish(self, response: Json, *, status: str | None = None) -> list[DomainEvent]:
        """End the run from a looked-up response, after its stream broke off; `status` overrides its own."""

    def fail(self, error: Json, *, status: str = "failed") -> list[DomainEvent]:
        """End the run without the upstream's word: close what is open, then say what is known.

        `error` is the inside of the error envelope, sent as it is when no run ever came about.
        """
        if self.is_ended:
            return []
        if self.response is None:
            self.is_ended = True
            return [StreamFailed(error)]
        return self._end({**self.response, "output": [], "status": status}, status)

    @abstractmethod
    def _translate(self, kind: str, event: UpstreamEvent) -> list[DomainEvent]:
        """Return what one event tells; raises one of `UNREADABLE`."""

    @abstractmethod
    def _end(self, response: Json, status: str | None) -> list[DomainEvent]:
        """Return the run's end, from its last response."""

    def _error(self) -> list[DomainEvent]:
        if self.response is not None:
            # The stream is over; what became of its response has to be looked up.
            raise MalformedEventError("error")
        return self.fail(UPSTREAM_FAILED)

    def _answer(self, response: Json, run: Json) -> tuple[list[Json], list[Json]]:
        """Return the messages of a response, oldest first, and the flat sources of their texts."""
        context = self._context
        items = [item for item in response["output"] if item.get("type") == "message"]
        named = {"thread_id": context.thread_id, "assistant_id": context.assistant_id, "run_id": run["id"]}
        messages = [
            message_object(item, context.ids, created_at=run["created_at"], **named) for item in items
        ]
        return messages, [source for item in items for source in message_sources(item, context.ids)]
