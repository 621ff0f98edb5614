"""A run's end: all that somebody who did not watch it wants to know."""

import re

from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded
from app.translate.objects import run_object, run_status
from app.translate.response_reader import ResponseReader
from app.translate.upstream_types import (
    TERMINAL,
    UNREADABLE,
    UpstreamEvent,
    decode,
    item_of,
    response_of,
)
from app.utils.sse import Middle, last_frame, usual_event

_CREATED = "response.created"
_ITEM_DONE = "response.output_item.done"
_RESPONSES = sorted({_CREATED, _ITEM_DONE} | TERMINAL)


class RunEndReader(ResponseReader):
    """Tells nothing of a response's stream but the run's end.

    Args:
        context: how the run is named and shown.

    """

    kinds = {name.encode(): name for name in (*_RESPONSES, "error")}  # noqa: RUF012 - never changed
    # The prefix stands once, so that most other names are passed over after one comparison.
    wanted = re.compile(
        rb"response\.(?:%b)|error"
        % b"|".join(re.escape(name.removeprefix("response.")).encode() for name in _RESPONSES)
    )

    # Before a delta comes no end; of an error that the answer outlives nothing is told.
    middle = Middle(usual_event(rb"response\.[a-z_.]+\.delta"), without=_ITEM_DONE.encode())

    def __init__(self, context: RunContext) -> None:
        super().__init__(context)
        self._items: dict[int, Json] = {}

    def end_of(self, chunk: bytes) -> list[DomainEvent]:
        """See `ResponseReader.end_of`: an answer that comes in one piece ends with an event that holds it.

        What it says counts, whatever stands before it: errors and events that cannot be read, too.
        """
        frame = last_frame(chunk)
        if frame is None or self.kinds.get(frame[0]) not in TERMINAL or self.is_ended:
            return []
        try:
            response = response_of(decode(frame[1]))
            return self._end(response, None) if response.get("output") else []
        except UNREADABLE:
            # Read in its turn, it is judged like every other event.
            return []

    def finish(self, response: Json, *, status: str | None = None) -> list[DomainEvent]:
        """See `ResponseReader.finish`."""
        return [] if self.is_ended else self._end(response, status)

    def _translate(self, kind: str, event: UpstreamEvent) -> list[DomainEvent]:
        if kind == "error":
            return self._error()
        if kind == _ITEM_DONE:
            self._items[event.output_index] = item_of(event)
            return []
        self.response = response_of(event)
        return [] if kind == _CREATED else self._end(self.response, None)

    def _end(self, response: Json, status: str | None) -> list[DomainEvent]:
        # The last event of some upstreams holds no items.
        kept = [item for _, item in sorted(self._items.items())]
        whole = response if response.get("output") else {**response, "output": kept}
        run = run_object(whole, self._context, status=status or run_status(whole))
        ended = RunEnded(run, *self._answer(whole, run))
        self.response, self.is_ended = whole, True
        return [ended]
