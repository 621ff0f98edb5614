"""A run's end: all that somebody who did not watch it wants to know."""

import re

from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed
from app.translate.objects import message_object, message_sources, run_object, run_status
from app.translate.shapes import checked_item
from app.translate.upstream_events import (
    UNREADABLE,
    UPSTREAM_FAILED,
    MalformedEventError,
    decode,
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
        self._items: list[bytes] = []
        self.response: Json | None = None
        self.last_sequence: int | None = None
        self.is_ended = False

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them, once the run exists."""
        return public_ids(self._context, self.response)

    def feed(self, name: bytes, data: bytes) -> list[DomainEvent]:
        """Read one upstream event; after a `MalformedEventError` the stream cannot be trusted."""
        name = name or name_of(data).encode()
        if self.is_ended or not _WANTED.fullmatch(name):
            return []
        if name == _ITEM_DONE:
            self._items.append(data)
            return []
        if name == _ERROR:
            return self._error()
        try:
            event = decode(data)
            self.response = response_of(event)
            self.last_sequence = event.sequence_number
            return [] if name == _CREATED else [self._end(self.response, None)]
        except UNREADABLE as exc:
            raise MalformedEventError(name.decode()) from exc

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

    def _error(self) -> list[DomainEvent]:
        if self.response is not None:
            # The stream is over; what became of its response has to be looked up.
            raise MalformedEventError("error")
        return self.fail(UPSTREAM_FAILED)

    def _end(self, response: Json, status: str | None) -> RunEnded:
        # The last event of some upstreams holds no items.
        whole = response if response.get("output") else {**response, "output": self._kept_items()}
        run = run_object(whole, self._context, status=status or run_status(whole))
        ended = RunEnded(run, *answer_of(whole, run, self._context))
        self.response, self.is_ended = whole, True
        return ended

    def _kept_items(self) -> list[Json]:
        kept, self._items = self._items, []
        items = {event.output_index: event.item for event in map(decode, kept) if event.item}
        return [checked_item(item) for _, item in sorted(items.items())]


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
