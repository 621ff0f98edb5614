"""One writer per conversation: waits for the upstream's lock, and for work of our own before a turn."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.core.background import BackgroundTasks
from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.upstream.errors import ConversationLockedError

T = TypeVar("T")
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
        wait_seconds: longest wait for the upstream's own lock.
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
            if self.redis is not None or conversation_id in self._held:
                # The messages of a stopped turn belong before those of the next one.
                await self.wait(conversation_id)
            try:
                return await call()
            except ConversationLockedError:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            self.waited(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def hold(self, conversation_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background, after earlier held work; `write` and `wait` wait for it."""
        task = self.background.spawn(self._hold(conversation_id, work, self._held.get(conversation_id)))
        self._held[conversation_id] = task
        task.add_done_callback(lambda _: self._forget(conversation_id, task))

    async def wait(self, conversation_id: str) -> None:
        """Wait until no work is held for the conversation."""
        while (task := self._held.get(conversation_id)) is not None:
            await asyncio.wait([task])
        if self.redis is not None:
            await self._wait_for_others(self.redis, conversation_id)

    async def _hold(
        self, conversation_id: str, work: Coroutine[Any, Any, None], before: "asyncio.Task[None] | None"
    ) -> None:
        await self._tell_others(conversation_id, is_held=True)
        try:
            if before is not None:
                await asyncio.wait([before])
            await work
        finally:
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

    async def _wait_for_others(self, redis: SharedRedis, conversation_id: str) -> None:
        pause = _FIRST_PAUSE_SECONDS
        with suppress(RedisAwayError):
            while await redis.call(lambda: redis.client.exists(_PREFIX + conversation_id)):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
