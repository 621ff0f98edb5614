"""Follows a run again, from its start or after an event, without state of our own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from app.core.caller import RequestScope
from app.core.errors import ServiceError
from app.core.observability.run_metrics import RunMetrics
from app.core.runs.create import RunCreator
from app.core.runs.follow import RunStream
from app.core.runs.follow_background import BackgroundStream
from app.core.runs.lookup import RunLookup, RunView
from app.core.runs.looped_run import ROUND_NUMBERS
from app.core.upstream.errors import UpstreamNotFoundError, UpstreamRefusedError
from app.core.upstream.responses import Responses
from app.translate.events import DomainEvent, Json, StreamFailed
from app.translate.marks import AssistantsStage
from app.translate.run_translator import RunTranslator

_POLL_SECONDS = 0.5


@dataclass(eq=False)
class ResumedRun:
    """A followed run without the events up to a sequence number.

    The upstream is always read from the run's first event, because only that tells which parts are open.
    """

    stream: "RunStream | PolledRun"
    starting_after: int | None
    stage: AssistantsStage | None

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self.stream.is_ended

    async def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        async for events in self.stream:
            # Before events are dropped, as a position depends on all marks before it.
            if left := self._later(self._cited(events)):
                yield left

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own."""
        return self._cited(self.stream.fail(error))

    async def aclose(self) -> None:
        """Stop following; the run goes on."""
        await self.stream.aclose()

    def _cited(self, events: list[DomainEvent]) -> list[DomainEvent]:
        return self.stage.feed_all(events) if self.stage else events

    def _later(self, events: list[DomainEvent]) -> list[DomainEvent]:
        """Drop what the client has seen; an event without a number belongs to the next one with a number."""
        if self.starting_after is None:
            return events
        after = self.starting_after
        seen = [
            at for at, event in enumerate(events, 1) if event.sequence is not None and event.sequence <= after
        ]
        return events[seen[-1] :] if seen else events


@dataclass(eq=False)
class PolledRun:
    """A run that cannot be followed upstream: it is polled until it ends, then retold from its response."""

    translator: RunTranslator
    view: RunView
    look: Callable[[], Awaitable[RunView]]
    _count: int = field(default=0, init=False)

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self.translator.is_ended

    async def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        view = self.view
        yield self._numbered(self.translator.announce(view.response))
        try:
            while view.is_live:
                await asyncio.sleep(_POLL_SECONDS)
                view = await self.look()
        except ServiceError as exc:
            yield self.fail(exc.detail())
        else:
            yield self._numbered(self.translator.retell(view.response, status=view.status))

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event; the run itself goes on."""
        self.translator.is_ended = True
        return [StreamFailed(error)]

    async def aclose(self) -> None:
        """Do nothing: no connection is open."""

    def _numbered(self, events: list[DomainEvent]) -> list[DomainEvent]:
        """Number the events; retelling the same response always gives the same numbers."""
        for event in events:
            event.sequence, self._count = self._count, self._count + 1
        return events


@dataclass(eq=False)
class ResumeService:
    """The service behind `/threads/{thread_id}/runs/{run_id}/events`."""

    responses: Responses
    lookup: RunLookup
    creator: RunCreator
    metrics: RunMetrics
    deadline_seconds: float

    async def open(
        self,
        scope: RequestScope,
        thread_id: str,
        run_id: str,
        starting_after: int | None,
        stage: AssistantsStage | None = None,
    ) -> ResumedRun:
        """Follow a run's current round; `stage` renders its citations.

        Upstream: GET responses/{r}?stream=true, else GET responses/{r} until it ends.
        """
        view = await self.lookup.view(scope, thread_id, run_id)
        translator = RunTranslator(
            view.context,
            resumed=view.response["id"] != view.first_id,
            ended_as=None if view.is_live else view.status,
        )
        try:
            life = max(1.0, self._deadline(view) - asyncio.get_running_loop().time())
            upstream = await self.responses.follow(view.response["id"], life=life)
        except (UpstreamRefusedError, UpstreamNotFoundError):
            # Foreground responses have no stream to reopen, and background ones only for some minutes.
            polled = PolledRun(translator, view, lambda: self.lookup.view(scope, thread_id, run_id))
            starting_after = await self._in_round(view, starting_after)
            return ResumedRun(polled, starting_after, stage)
        starting_after = await self._in_round(view, starting_after)
        expired = partial(self.creator.note_expired, view.conversation_id, view.context)
        watch, deadline = self.metrics.watch(), self._deadline(view)
        stream = BackgroundStream(
            translator, upstream, watch, deadline, self.responses, expired, is_ours=False
        )
        try:
            await stream.prime()
        except BaseException:
            await stream.aclose()
            raise
        return ResumedRun(stream, starting_after, stage)

    async def _in_round(self, view: RunView, starting_after: int | None) -> int | None:
        """Return the number of an event within the run's current round; None for one of an earlier round.

        Only runs that go on by themselves number their rounds.
        """
        is_later = view.response["id"] != view.first_id
        if starting_after is None or not is_later or not view.context.own_tools.approvals:
            return starting_after
        number, within = divmod(starting_after, ROUND_NUMBERS)
        return within if number == await self.lookup.round_number(view) else None

    def _deadline(self, view: RunView) -> float:
        """Return when a run expires, on the loop's clock; a run that has ended gets the full time again."""
        expires_at = view.run()["expires_at"] if view.is_live else None
        left = self.deadline_seconds if expires_at is None else expires_at - time.time()
        return asyncio.get_running_loop().time() + left
