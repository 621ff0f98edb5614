"""The stream of a run whose turn takes the place of deleted ones, which come back if it answers nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from app.core.runs.follow import FollowedRun
from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed, TextDelta

_FAILED = frozenset({"failed", "expired"})


@dataclass(eq=False)
class ReplacingRun:
    """Batches of domain events, as those of `run`.

    The end of a run that failed, expired, or was stopped before it said anything is told when the deleted
    items are back.

    Args:
        run: the stream of the run.
        restore: puts the deleted items back.
        replaced: called when the run has answered.

    """

    run: FollowedRun
    restore: Callable[[], Awaitable[None]]
    replaced: Callable[[], None]
    _has_text: bool = field(default=False, init=False)
    _is_settled: bool = field(default=False, init=False)
    _is_cut_off: bool = field(default=False, init=False)

    in_background = False
    """Somebody has to see how the run ends, so it is read to its end."""

    @property
    def response(self) -> Json | None:
        """The latest state of the upstream response."""
        return self.run.response

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them."""
        return self.run.public_ids

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self.run.is_ended

    def put_first(self, events: list[DomainEvent]) -> None:
        """Yield these events before those of the run."""
        self.run.put_first(events)

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        return self

    async def __anext__(self) -> list[DomainEvent]:
        events = await anext(self.run)
        self._has_text = self._has_text or any(map(_is_answer, events))
        if isinstance(last := events[-1], RunEnded | StreamFailed):
            # The conversation must be free before its items can come back.
            await self.run.aclose()
            await self._settle(answered=self._has_answered(last))
        return events

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own; a run in the upstream's background goes on."""
        self._is_cut_off = not self.run.in_background
        return self.run.fail(error)

    async def cancel(self) -> None:
        """Stop the run; what it has said so far is its answer."""
        await self.run.cancel()
        await self._settle(answered=self._has_text)

    async def aclose(self) -> None:
        """Close what is open; closing twice is harmless."""
        await self.run.aclose()
        if self._is_cut_off:
            await self._settle(answered=self._has_text)

    def _has_answered(self, last: RunEnded | StreamFailed) -> bool:
        if isinstance(last, StreamFailed) or last.run["status"] in _FAILED:
            return False
        return self._has_text or last.run["status"] != "cancelled"

    async def _settle(self, *, answered: bool) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        if answered:
            self.replaced()
        else:
            await self.restore()


def _is_answer(event: DomainEvent) -> bool:
    return isinstance(event, TextDelta) and bool(event.text) and not event.is_commentary
