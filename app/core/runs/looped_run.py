"""The stream of a run whose calls the service carries out: the streams of its rounds as one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.core.errors import ServiceError
from app.core.runs.follow import FollowedRun
from app.core.runs.tool_loop import NextStep, ToolLoop
from app.core.runs.tool_outputs import answered_steps
from app.core.tools.port import ToolResult
from app.translate.events import DomainEvent, Json, RunEnded, RunInProgress, RunResumed, StreamFailed
from app.translate.objects import run_object
from app.translate.own_calls import call_ended

ROUND_NUMBERS = 1_000_000
"""The numbers of a round's events begin at its place among the rounds, times this."""

Stepped = tuple[NextStep, dict[str, ToolResult]]


@dataclass(eq=False)
class LoopedRun:
    """Batches of domain events, as `RunStream` has them, over all rounds of a run.

    Args:
        stream: the stream of the first round.
        loop: carries out the calls.
        next_round: opens the stream of the next round.

    """

    stream: FollowedRun
    loop: ToolLoop
    next_round: Callable[[], Coroutine[Any, Any, FollowedRun]]
    is_ended: bool = field(default=False, init=False)
    _first: list[DomainEvent] = field(default_factory=list, init=False)
    _asked: RunEnded | None = field(default=None, init=False)
    _work: "asyncio.Task[Stepped] | None" = field(default=None, init=False)
    _next: "asyncio.Task[FollowedRun] | None" = field(default=None, init=False)
    """Opens the stream of the next round."""

    _said: list[RunEnded] = field(default_factory=list, init=False)

    in_background = False
    """This process goes on with the run when its client has left, so it has to be read to its end."""

    @property
    def response(self) -> Json | None:
        """The latest state of the upstream response of the current round."""
        return self.stream.response

    @property
    def public_ids(self) -> tuple[str, str] | None:
        """The thread and the run as clients know them."""
        return self.stream.public_ids

    def put_first(self, events: list[DomainEvent]) -> None:
        """Yield these events before those of the run."""
        self._first = events + self._first

    def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        return self

    async def __anext__(self) -> list[DomainEvent]:
        if self.is_ended:
            raise StopAsyncIteration
        events, self._first = self._first, []
        while not events:
            events = await (self._stepped(self._asked) if self._asked else self._read())
        if isinstance(events[-1], RunEnded | StreamFailed):
            self.is_ended = True
        return events

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own; `error` is the inside of an error envelope."""
        self.is_ended = True
        return [StreamFailed(error)]

    async def cancel(self) -> None:
        """Stop the run; a reader of the stream gets the end of a cancelled run."""
        await self.loop.stop()
        if self._work is not None:
            # It closes the calls; only then others may have the conversation.
            await asyncio.wait([self._work])
        with suppress(ServiceError):
            await self._go_on()
        await self.stream.cancel()
        await self.aclose()

    async def aclose(self) -> None:
        """Close what is open; closing twice is harmless."""
        await self.stream.aclose()
        if (self._work is None or self._work.done()) and self._next is None:
            await self.loop.aclose()

    async def _read(self) -> list[DomainEvent]:
        """Return the next events of the current round, without an end that is not the run's."""
        try:
            await self._go_on()
        except ServiceError as exc:
            return self.fail(exc.detail())
        events = await anext(self.stream)
        if self._said:
            # The run has never left `in_progress`.
            events = [event for event in events if not isinstance(event, RunResumed | RunInProgress)]
            self._renumber(events)
        if not events or not isinstance(last := events[-1], RunEnded):
            return events
        if self.response is not None and self.loop.calls(self.response):
            self._asked = last
            return events[:-1]
        return [*events[:-1], self._joined(last)]

    def _renumber(self, events: list[DomainEvent]) -> None:
        """Number the events of a later round on, so that a client that follows again can say where it was."""
        for event in events:
            if event.sequence is not None:
                event.sequence += len(self._said) * ROUND_NUMBERS

    async def _stepped(self, asked: RunEnded) -> list[DomainEvent]:
        """Carry out the calls of a round that has ended, and return what that tells."""
        response, context = self.response or {}, self.loop.context
        # Its end would count as that of the calls too.
        await self.stream.aclose()
        try:
            step, results = await self._worked(response)
        except ServiceError as exc:
            return self.fail(exc.detail())
        self._asked = self._work = None
        if step == "end":
            run = run_object(response, context, status=self.loop.ended_as or "failed")
            return [self._joined(msgspec.structs.replace(asked, run=run))]
        told = self._told(response, results)
        if step == "wait":
            return [*told, self._joined(asked)]
        self._said.append(asked)
        self._next = asyncio.create_task(self.next_round())
        return told

    async def _go_on(self) -> None:
        """Take the stream of the next round up; if the reader is cancelled, the next one does."""
        if self._next is not None:
            opening = self._next
            await asyncio.wait([opening])
            self._next = None
            self.stream = opening.result()

    async def _worked(self, response: Json) -> Stepped:
        """Await the calls; they go on if the reader is cancelled, and are awaited again by the next one."""
        if self._work is None:
            self._work = asyncio.create_task(self.loop.step(response))
        return await asyncio.shield(self._work)

    def _told(self, response: Json, results: dict[str, ToolResult]) -> list[DomainEvent]:
        """Return the events of calls that were carried out."""
        context = self.loop.context
        if not context.is_brief:
            run = run_object(response, context, status="in_progress")
            outputs = {call_id: result.output for call_id, result in results.items()}
            return answered_steps(response, run, context, outputs)
        return [
            event
            for item in self.loop.calls(response)
            if (result := results.get(str(item.get("call_id"))))
            for event in call_ended(
                item, result.output, is_failed=result.outcome != "ok", tools=context.own_tools
            )
        ]

    def _joined(self, ended: RunEnded) -> RunEnded:
        """Return the end of the run with the messages of all its rounds."""
        return joined(self._said, ended)


def joined(earlier: list[RunEnded], ended: RunEnded) -> RunEnded:
    """Return the end of a run with what its earlier rounds said."""
    if not earlier:
        return ended
    rounds = [*earlier, ended]
    return msgspec.structs.replace(
        ended,
        messages=[message for each in rounds for message in each.messages],
        sources=[source for each in rounds for source in each.sources],
        pictures=[picture for each in rounds for picture in each.pictures],
    )
