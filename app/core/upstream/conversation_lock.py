"""One writer per conversation: waits for the upstream's lock, and for work of our own before a turn."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.core.background import BackgroundTasks
from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.upstream.errors import ConversationLockedError

T = TypeVar("T")
_holding: ContextVar["asyncio.Task[None] | None"] = ContextVar("holding", default=None)
"""The task that holds a conversation for the code that runs here, which does not wait for it."""

_PREFIX = "soloist:stopped:"
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_MOST_SECONDS = 20
"""How long other replicas wait for a replica that died while it held a conversation."""


@dataclass(eq=False)
class ConversationLock:
    """Makes the writers of a conversation wait for each other.

    Args:
        background: runs the work that `hold` is given.
        redis: tells other replicas which conversations are held; without it, only this process knows.
        wait_seconds: longest wait for the upstream's own lock, and for a conversation that is held.
        waited: called with the length of each pause, in seconds.

    """

    background: BackgroundTasks
    redis: SharedRedis | None
    wait_seconds: float
    waited: Callable[[float], None]
    _held: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)

    async def write(
        self, conversation_id: str, call: Callable[[], Awaitable[T]], *, is_repeatable: bool = True
    ) -> T:
        """Make a call that writes to a conversation, and repeat it while the upstream has that locked.

        A refusal means that nothing was started, so a repeated call cannot run a turn twice. A call that is
        not repeatable is made once. Raises `ConversationLockedError` if the lock outlasts `wait_seconds`.
        """
        deadline = asyncio.get_running_loop().time() + (self.wait_seconds if is_repeatable else 0)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if (self.redis is not None or conversation_id in self._held) and not self._is_mine():
                # The messages of a stopped turn belong before those of the next one.
                await self._wait_bounded(conversation_id)
            try:
                return await call()
            except ConversationLockedError:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            self.waited(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def hold(self, conversation_id: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` in the background, after earlier held work; `write` and `wait` wait for it."""
        task = self.background.spawn(self._hold(conversation_id, work, self._held.get(conversation_id)))
        self._held[conversation_id] = task
        task.add_done_callback(lambda _: self._forget(conversation_id, task))
        return task

    @asynccontextmanager
    async def holding(self, conversation_id: str) -> AsyncIterator[None]:
        """Keep other writers out of a conversation within the block, whose own `write` calls pass.

        Raises `ConversationLockedError` if others hold it for longer than `wait_seconds`.
        """
        await self._wait_bounded(conversation_id)
        released = asyncio.Event()
        token = _holding.set(self.hold(conversation_id, _wait_for(released)))
        try:
            yield
        finally:
            _holding.reset(token)
            released.set()

    async def wait(self, conversation_id: str) -> None:
        """Wait until no work is held for the conversation."""
        await self._wait_until(conversation_id, math.inf)

    @staticmethod
    def _is_mine() -> bool:
        """Return whether this code runs in a `holding` block."""
        task = _holding.get()
        return task is not None and not task.done()

    async def _wait_bounded(self, conversation_id: str) -> None:
        await self._wait_until(conversation_id, asyncio.get_running_loop().time() + self.wait_seconds)

    async def _wait_until(self, conversation_id: str, deadline: float) -> None:
        """Wait until no work is held; raises `ConversationLockedError` if there is at the deadline."""
        loop = asyncio.get_running_loop()
        while (task := self._held.get(conversation_id)) is not None:
            left = None if math.isinf(deadline) else max(deadline - loop.time(), 0)
            await asyncio.wait([task], timeout=left)
            if not task.done():
                raise _held_too_long()
        if self.redis is not None:
            await self._wait_for_others(self.redis, conversation_id, deadline)

    async def _hold(
        self, conversation_id: str, work: Coroutine[Any, Any, None], before: "asyncio.Task[None] | None"
    ) -> None:
        await self._tell_others(conversation_id, is_held=True)
        try:
            if before is not None:
                await asyncio.wait([before])
            await work
        finally:
            if self._held.get(conversation_id) is asyncio.current_task():
                # Work that was held later tells them when it is done.
                await self._tell_others(conversation_id, is_held=False)

    def _forget(self, conversation_id: str, task: "asyncio.Task[None]") -> None:
        if self._held.get(conversation_id) is task:
            del self._held[conversation_id]

    async def _tell_others(self, conversation_id: str, *, is_held: bool) -> None:
        redis, name = self.redis, _PREFIX + conversation_id
        if redis is None:
            return
        # Without Redis, the lock of the upstream is all that other replicas respect.
        with suppress(RedisAwayError):
            if is_held:
                await redis.call(lambda: redis.client.set(name, 1, ex=_MOST_SECONDS))
            else:
                await redis.call(lambda: redis.client.delete(name))

    async def _wait_for_others(self, redis: SharedRedis, conversation_id: str, deadline: float) -> None:
        pause = _FIRST_PAUSE_SECONDS
        with suppress(RedisAwayError):
            while await redis.call(lambda: redis.client.exists(_PREFIX + conversation_id)):
                if asyncio.get_running_loop().time() > deadline:
                    raise _held_too_long()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _held_too_long() -> ConversationLockedError:
    return ConversationLockedError(
        "The thread is busy with another run or message. Retry when that has ended."
    )


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()
