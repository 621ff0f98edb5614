"""Conversations to which the end of a stopped turn is being appended: other writers wait."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from app.core.background import BackgroundTasks
from app.core.limits.shared_redis import RedisAwayError, SharedRedis

_PREFIX = "soloist:stopped:"
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_MOST_SECONDS = 20
"""How long other replicas wait for one that died meanwhile."""


class TurnGate:
    """Lets one piece of work at a conversation go ahead of its next turn; with Redis, on every replica."""

    def __init__(self, background: BackgroundTasks, redis: SharedRedis | None) -> None:
        self._background = background
        self._redis = redis
        self._held: dict[str, asyncio.Task[None]] = {}

    def hold(self, conversation_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` beside the request, after what was held before; `wait` returns when it is done."""
        task = self._background.spawn(self._hold(conversation_id, work, self._held.get(conversation_id)))
        self._held[conversation_id] = task
        task.add_done_callback(lambda _: self._forget(conversation_id, task))

    async def wait(self, conversation_id: str) -> None:
        """Return when no work is held for the conversation."""
        while (task := self._held.get(conversation_id)) is not None:
            await asyncio.wait([task])
        if self._redis is not None:
            await self._wait_for_others(self._redis, conversation_id)

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
        redis, name = self._redis, _PREFIX + conversation_id
        if redis is None:
            return
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
