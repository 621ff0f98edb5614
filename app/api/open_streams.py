"""Which streams and answers are under way: a place for each, one timer for all, and their end at shutdown."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from starlette.types import Scope

from app.api.disconnect import uncancel
from app.core.caller import Caller
from app.core.errors import OverloadedError, RateLimitedError, ShuttingDownError
from app.translate.events import Json

_PLACE = "place"
"""Key of a request's state while it has one; who it counts for."""
_TICK_SECONDS = 0.5
_LAST_SECONDS = 1.0
"""How long work that must be whole may go on after the grace period."""


class TimedStream(Protocol):
    """What the timer looks after."""

    def tick(self, now: float, keepalive_seconds: float, slow_seconds: float, max_seconds: float) -> None:
        """Look after the stream; called about twice a second."""

    def interrupt(self, error: Json) -> None:
        """End the stream from this side with an error event; the run goes on."""


class StreamRegistry:
    """Every open stream of this process, and the one timer that they share.

    One timer instead of one per stream: at ten thousand streams that is the difference between a tick and a
    flood.
    """

    def __init__(
        self,
        *,
        max_streams: int,
        max_per_holder: int,
        keepalive_seconds: float,
        slow_reader_seconds: float,
        max_seconds: float,
    ) -> None:
        self._max_streams = max_streams
        self._max_per_holder = max_per_holder
        self._held: dict[str, int] = {}
        self._keepalive_seconds = keepalive_seconds
        self._slow_reader_seconds = slow_reader_seconds
        self._max_seconds = max_seconds
        self._streams: set[TimedStream] = set()
        self._begun = asyncio.Event()
        self._waiting: set[asyncio.Task[object]] = set()
        self._reserved = 0
        self._grace_ends: float | None = None
        self._is_over = False
        self.ended: Counter[str] = Counter()
        """Streams by how they ended."""
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    @property
    def max_streams(self) -> int:
        """How many places there are."""
        return self._max_streams

    @property
    def open_streams(self) -> int:
        """How many places are taken."""
        return self._reserved

    def enter(self, scope: Scope, holder: str | None = None) -> None:
        """Take a request's place, for a run or stream; raises where none is left, in all or for a holder."""
        if self.is_draining:
            raise ShuttingDownError
        if self._reserved >= self._max_streams:
            raise OverloadedError
        if holder is not None:
            if self._held.get(holder, 0) >= self._max_per_holder:
                raise _too_many_streams(self._max_per_holder)
            self._held[holder] = self._held.get(holder, 0) + 1
        scope["state"][_PLACE] = holder
        self._reserved += 1
        self._idle.clear()

    def leave(self, scope: Scope) -> None:
        """Give a request's place back, if it still has one."""
        if _PLACE not in (state := scope["state"]):
            return
        if (holder := state.pop(_PLACE)) is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        self._reserved -= 1
        if not self._reserved:
            self._idle.set()

    def add(self, stream: TimedStream) -> None:
        """Take a stream under the timer."""
        self._streams.add(stream)
        self._begun.set()

    def discard(self, stream: TimedStream, reason: str) -> None:
        """Release it, and count how it ended."""
        self._streams.discard(stream)
        if not self._streams:
            self._begun.clear()
        self.ended[reason] += 1

    async def run(self) -> None:
        """Tick for ever: keep silent streams alive, drop slow readers, end streams that are too old."""
        loop = asyncio.get_running_loop()
        while True:
            await self._begun.wait()
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            for stream in list(self._streams):
                stream.tick(now, self._keepalive_seconds, self._slow_reader_seconds, self._max_seconds)

    async def drain(self, grace_seconds: float) -> None:
        """Take no new work, let what is under way finish for so long, then end the rest with an error."""
        self.is_draining = True
        self._grace_ends = asyncio.get_running_loop().time() + grace_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        for stream in list(self._streams):
            stream.interrupt(ShuttingDownError().detail())
        self._is_over = True
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            # What is not over yet belongs to clients that left, and still has the rest of the grace period.
            left = self._grace_ends - asyncio.get_running_loop().time()
            _, late = await asyncio.wait(self._waiting, timeout=max(_LAST_SECONDS, left))
            for task in late:
                task.cancel()

    def grace_left(self, grace_seconds: float) -> float:
        """Return the seconds left for work in the background: one at least, all where nothing drained yet."""
        if self._grace_ends is None:
            return grace_seconds
        return max(1.0, self._grace_ends - asyncio.get_running_loop().time())

    @contextmanager
    def within_grace(self) -> Iterator[None]:
        """Cut the block off with `ShuttingDownError` when the grace period is over."""
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("a request must be served in a task")
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            uncancel()
            raise _cut_off() from None
        finally:
            self._waiting.discard(task)


def holder_of(scope: Scope) -> str | None:
    """Return whose streams a request's stream counts among."""
    caller: Caller | None = scope["state"].get("caller")
    return caller.stream_holder if caller else None


def _cut_off() -> ShuttingDownError:
    error = ShuttingDownError()
    # A run may have been started: the same request would start another one.
    error.headers["x-should-retry"] = "false"
    return error


def _too_many_streams(limit: int) -> RateLimitedError:
    return RateLimitedError(
        f"{limit} answers are under way for this caller already. Let one of them end.",
        code="too_many_streams",
        headers={"retry-after": "2"},
    )
