"""The registry of open streams: limits on their number, one timer for all, and their end at shutdown."""

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

_PLACE = "place"  # key in a request's state while it holds a place; its value is the holder
_TICK_SECONDS = 0.5
_LAST_SECONDS = 1.0  # cancelled work gets at least so long to clean up


class TimedStream(Protocol):
    """A stream that the timer can keep alive and end."""

    def tick(self, now: float, keepalive_seconds: float, slow_seconds: float, max_seconds: float) -> None:
        """Send a keep-alive or end the stream, whichever is due; called about twice a second."""

    def interrupt(self, error: Json) -> None:
        """End the stream with an error event; the run goes on."""


class StreamRegistry:
    """All open streams of this process and their timer: ten thousand timers would cost too much."""

    def __init__(
        self,
        *,
        max_streams: int,
        max_per_holder: int,
        keepalive_seconds: float,
        slow_reader_seconds: float,
        max_seconds: float,
    ) -> None:
        self.max_streams = max_streams
        self._max_per_holder = max_per_holder
        self._held: Counter[str] = Counter()
        self._times = (keepalive_seconds, slow_reader_seconds, max_seconds)
        self._streams: set[TimedStream] = set()
        self._begun = asyncio.Event()
        self._waiting: set[asyncio.Task[object]] = set()
        self._reserved = 0
        self._grace_ends: float | None = None
        self._is_over = False
        self.ended: Counter[str] = Counter()  # streams by the reason of their end
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    @property
    def open_streams(self) -> int:
        """Number of places taken."""
        return self._reserved

    def enter(self, scope: Scope, holder: str | None = None) -> None:
        """Take a place for a request's run or stream.

        Raises `ShuttingDownError`, `OverloadedError`, or `RateLimitedError` for a holder with too many.
        """
        if self.is_draining:
            raise ShuttingDownError
        if self._reserved >= self.max_streams:
            raise OverloadedError
        if holder is not None:
            if self._held[holder] >= self._max_per_holder:
                limit = self._max_per_holder
                raise RateLimitedError(
                    f"{limit} answers are under way for this caller already. Let one of them end.",
                    code="too_many_streams",
                    headers={"retry-after": "2"},
                )
            self._held[holder] += 1
        scope["state"][_PLACE] = holder
        self._reserved += 1
        self._idle.clear()

    def leave(self, scope: Scope) -> None:
        """Give back a request's place, if it still has one."""
        if _PLACE not in (state := scope["state"]):
            return
        if (holder := state.pop(_PLACE)) is not None:
            self._held[holder] -= 1
            # Holders come and go, so an entry without streams must not stay.
            if not self._held[holder]:
                del self._held[holder]
        self._reserved -= 1
        if not self._reserved:
            self._idle.set()

    def add(self, stream: TimedStream) -> None:
        """Add a stream to the timer."""
        self._streams.add(stream)
        self._begun.set()

    def discard(self, stream: TimedStream, reason: str) -> None:
        """Remove a stream from the timer, and count the reason of its end."""
        self._streams.discard(stream)
        if not self._streams:
            self._begun.clear()
        self.ended[reason] += 1

    async def run(self) -> None:
        """Tick twice a second, for ever, while there are streams."""
        loop = asyncio.get_running_loop()
        while True:
            await self._begun.wait()
            await asyncio.sleep(_TICK_SECONDS)
            now = loop.time()
            for stream in list(self._streams):
                stream.tick(now, *self._times)

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new work, wait for the open streams, then end those that are left with an error event."""
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
            # What outlives this finishes runs whose clients left, and has the rest of the grace period.
            left = self._grace_ends - asyncio.get_running_loop().time()
            _, late = await asyncio.wait(self._waiting, timeout=max(_LAST_SECONDS, left))
            for task in late:
                task.cancel()

    def grace_left(self, grace_seconds: float) -> float:
        """Return the seconds left for background work, at least one; all of them before `drain`."""
        if self._grace_ends is None:
            return grace_seconds
        return max(1.0, self._grace_ends - asyncio.get_running_loop().time())

    @contextmanager
    def within_grace(self) -> Iterator[None]:
        """Stop the block with `ShuttingDownError` when the grace period is over."""
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("a request must be served in a task")
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            uncancel()
            error = ShuttingDownError()
            # A run may have been started: the same request would start another one.
            error.headers["x-should-retry"] = "false"
            raise error from None
        finally:
            self._waiting.discard(task)


def holder_of(scope: Scope) -> str | None:
    """Return the holder that a request's stream is counted for, or None."""
    caller: Caller | None = scope["state"].get("caller")
    return caller.stream_holder if caller else None
