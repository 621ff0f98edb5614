"""Follows a run again, from its start or after an event, without state of our own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from app.core.caller import RequestScope
from app.core.errors import ServiceError
from app.core.observability.run_metrics import RunMetrics
from app.core.runs.create import RunCreator
from app.core.runs.follow import BackgroundStream, RunStream
from app.core.runs.lookup import RunView
from app.core.services.runs import Runs
from app.core.upstream.errors import UpstreamMissingError, UpstreamRefusedError
from app.core.upstream.responses import Responses
from app.translate.events import DomainEvent, Json, StreamFailed
from app.translate.run_translator import RunTranslator

_POLL_SECONDS = 0.5


class ResumedRun:
    """A followed run without the events up to a sequence number.

    The upstream is always read from the run's first event, because only that tells which parts are open.
    """

    def __init__(self, stream: "RunStream | PolledRun", starting_after: int | None) -> None:
        self._stream = stream
        self._starting_after = starting_after

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self._stream.is_ended

    async def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        async for events in self._stream:
            if left := self._later(events):
                yield left

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event of our own."""
        return self._stream.fail(error)

    async def aclose(self) -> None:
        """Stop following; the run goes on."""
        await self._stream.aclose()

    def _later(self, events: list[DomainEvent]) -> list[DomainEvent]:
        """Drop what the client has seen; an event without a number belongs to the next one with a number."""
        if self._starting_after is None:
            return events
        last_seen = max(
            (
                n
                for n, event in enumerate(events)
                if event.sequence is not None and event.sequence <= self._starting_after
            ),
            default=-1,
        )
        return events[last_seen + 1 :]


class PolledRun:
    """A run that cannot be followed upstream: it is polled until it ends, then retold from its response."""

    def __init__(
        self, translator: RunTranslator, view: RunView, look: Callable[[], Awaitable[RunView]]
    ) -> None:
        self._translator = translator
        self._view = view
        self._look = look
        self._count = 0

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event has been produced."""
        return self._translator.is_ended

    async def __aiter__(self) -> AsyncIterator[list[DomainEvent]]:
        view = self._view
        yield self._numbered(self._translator.announce(view.response))
        try:
            while view.is_live:
                await asyncio.sleep(_POLL_SECONDS)
                view = await self._look()
        except ServiceError as exc:
            yield self.fail(exc.detail())
        else:
            yield self._numbered(self._translator.retell(view.response, status=view.status))

    def fail(self, error: Json) -> list[DomainEvent]:
        """End the stream with an error event; the run itself goes on."""
        self._translator.is_ended = True
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
    runs: Runs
    creator: RunCreator
    metrics: RunMetrics
    deadline_seconds: float

    async def open(
        self, scope: RequestScope, thread_id: str, run_id: str, starting_after: int | None
    ) -> ResumedRun:
        """Follow a run's current round.

        Upstream: GET responses/{r}?stream=true, else GET responses/{r} until it ends.
        """
        view = await self.runs.view(scope, thread_id, run_id)
        translator = RunTranslator(
            view.context,
            resumed=view.response["id"] != view.first_id,
            ended_as=None if view.is_live else view.status,
        )
        try:
            upstream = await self.responses.follow(view.response["id"])
        except (UpstreamRefusedError, UpstreamMissingError):
            # Foreground responses have no stream to reopen, and background ones only for some minutes.
            polled = PolledRun(translator, view, lambda: self.runs.view(scope, thread_id, run_id))
            return ResumedRun(polled, starting_after)
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
        return ResumedRun(stream, starting_after)

    def _deadline(self, view: RunView) -> float:
        """Return when a run expires, on the loop's clock; a run that has ended gets the full time again."""
        expires_at = view.run()["expires_at"] if view.is_live else None
        left = self.deadline_seconds if expires_at is None else expires_at - time.time()
        return asyncio.get_running_loop().time() + left
