"""A run's end: all that somebody who did not watch it wants to know."""

import re

from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed
from app.translate.objects import message_object, message_sources, run_object, run_status
from app.translate.upstream_events import (
    UNREADABLE,
    UPSTREAM_FAILED,
    MalformedEventError,
    UpstreamEvent,
    decode,
    item_of,
    name_of,
    response_of,
)

_CREATED = b"response.created"
_ITEM_DONE = b"response.output_item.done"
_ERROR = b"error"
_WANTED = re.compile(rb"response\.(?:created|completed|cancelled|failed|incomplete|output_item\.done)|error")


class RunEndReader:
    """Follows one response's stream and tells nothing but its end; see `RunTranslator`.

    Args:
        context: how the run is named and shown.

    """

    wanted = _WANTED
    """The names of the only upstream events to feed."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._items: dict[int, Json] = {}
        self.response: Json | None = None
        self.last_sequence: int | None = None
        self.is_ended = False

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        return public_ids(self._context, self.response)

    def feed(self, name: bytes, data: bytes) -> list[DomainEvent]:
        """Read one upstream event; after a `MalformedEventError` the stream cannot be trusted."""
        if self.is_ended:
            return []
        name = name or name_of(data).encode()
        if not _WANTED.fullmatch(name):
            return []
        if name == _ERROR:
            return self._error()
        try:
            event = decode(data)
            events = self._read(name, event)
        except UNREADABLE as exc:
            raise MalformedEventError(name.decode()) from exc
        if event.sequence_number is not None:
            self.last_sequence = event.sequence_number
        return events

    def finish(self, response: Json, *, status: str | None = None) -> list[DomainEvent]:
        """End the run from a looked-up response, after its stream broke off; `status` overrides its own."""
        return [] if self.is_ended else [self._end(response, status)]

    def fail(self, error: Json, *, status: str = "failed") -> list[DomainEvent]:
        """End the run without the upstream's word; `error` is what is known where no run ever came about."""
        if self.is_ended:
            return []
        if self.response is None:
            self.is_ended = True
            return [StreamFailed(error)]
        return [self._end({**self.response, "output": [], "status": status}, status)]

    def _read(self, name: bytes, event: UpstreamEvent) -> list[DomainEvent]:
        if name == _ITEM_DONE:
            self._items[event.output_index] = item_of(event)
            return []
        self.response = response_of(event)
        return [] if name == _CREATED else [self._end(self.response, None)]

    def _error(self) -> list[DomainEvent]:
        if self.response is not None:
            # The stream is over; what became of its response has to be looked up.
            raise MalformedEventError("error")
        return self.fail(UPSTREAM_FAILED)

    def _end(self, response: Json, status: str | None) -> RunEnded:
        # The last event of some upstreams holds no items.
        kept = [item for _, item in sorted(self._items.items())]
        whole = response if response.get("output") else {**response, "output": kept}
        run = run_object(whole, self._context, status=status or run_status(whole))
        ended = RunEnded(run, *answer_of(whole, run, self._context))
        self.response, self.is_ended = whole, True
        return ended


def answer_of(response: Json, run: Json, context: RunContext) -> tuple[list[Json], list[Json]]:
    """Return the messages of a response, oldest first, and the flat sources of their texts."""
    items = [item for item in response["output"] if item.get("type") == "message"]
    messages = [
        message_object(
            item,
            context.ids,
            thread_id=context.thread_id,
            assistant_id=context.assistant_id,
            run_id=run["id"],
            created_at=run["created_at"],
        )
        for item in items
    ]
    return messages, [source for item in items for source in message_sources(item, context.ids)]


def public_ids(context: RunContext, response: Json | None) -> tuple[str, str] | None:
    """Return the thread and the run as clients know them; None before the run exists."""
    if response is None:
        return None
    return context.thread_id, context.ids.run(context.first_response_id or response["id"])
