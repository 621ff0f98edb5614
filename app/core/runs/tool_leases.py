"""Who is carrying out a run's calls, so that nobody answers them in its place.

A lease is known to this process, and to other replicas through Redis or the store, whichever there is. It
runs out by itself when its process dies.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.upstream.errors import ConversationLockedError, UpstreamError

LEASE_SECONDS = 15
"""How long after its death a process keeps others from a run."""

_RENEW_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_PREFIX = "soloist:tools:"


class SharedLeases(Protocol):
    """Leases that replicas share. A failure counts as if there were none."""

    async def take(self, name: str, seconds: float) -> bool:
        """Take a lease for so long from now, unless somebody holds it; return whether it was taken."""

    async def renew(self, names: Sequence[str], seconds: float) -> None:
        """Take leases, or keep them, for so long from now."""

    async def give_back(self, name: str) -> None:
        """Free a lease."""

    async def is_held(self, name: str) -> bool:
        """Return whether any replica holds a lease."""


class RedisLeases:
    """Leases as keys in Redis; implements `SharedLeases`."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis

    async def take(self, name: str, seconds: float) -> bool:
        """Set the key if there is none."""
        client, milliseconds = self._redis.client, int(seconds * 1000)
        with suppress(RedisAwayError):
            setting = partial(client.set, _PREFIX + name, 1, px=milliseconds, nx=True)
            return bool(await self._redis.call(setting))
        return True

    async def renew(self, names: Sequence[str], seconds: float) -> None:
        """Set the keys, which expire."""
        client, milliseconds = self._redis.client, int(seconds * 1000)
        with suppress(RedisAwayError):
            for name in names:
                await self._redis.call(partial(client.set, _PREFIX + name, 1, px=milliseconds))

    async def give_back(self, name: str) -> None:
        """Delete the key."""
        with suppress(RedisAwayError):
            await self._redis.call(lambda: self._redis.client.delete(_PREFIX + name))

    async def is_held(self, name: str) -> bool:
        """Return whether the key is there."""
        with suppress(RedisAwayError):
            return bool(await self._redis.call(lambda: self._redis.client.exists(_PREFIX + name)))
        return False


class ToolLeases:
    """The conversations in which calls are being carried out."""

    def __init__(self, shared: SharedLeases | None, wait_seconds: float) -> None:
        self._shared = shared
        self._wait_seconds = wait_seconds
        self._held: dict[str, int] = {}

    @asynccontextmanager
    async def holding(self, conversation_id: str) -> AsyncIterator[None]:
        """Hold a conversation's lease within the block."""
        self._held[conversation_id] = self._held.get(conversation_id, 0) + 1
        try:
            if self._shared is not None:
                with suppress(UpstreamError):
                    await self._shared.renew([conversation_id], LEASE_SECONDS)
            yield
        finally:
            self._held[conversation_id] -= 1
            if not self._held[conversation_id]:
                del self._held[conversation_id]
                if self._shared is not None:
                    with suppress(UpstreamError):
                        await self._shared.give_back(conversation_id)

    @asynccontextmanager
    async def holding_alone(self, conversation_id: str) -> AsyncIterator[None]:
        """Hold a lease that nobody else holds; raises `ConversationLockedError` if that takes too long.

        Whoever made the run wait for an approval may just be about to give its lease back.
        """
        await self._until(lambda: self._taken(conversation_id))
        async with self.holding(conversation_id):
            yield

    async def _taken(self, conversation_id: str) -> bool:
        if conversation_id in self._held:
            return False
        if self._shared is not None:
            with suppress(UpstreamError):
                return await self._shared.take(conversation_id, LEASE_SECONDS)
        return True

    def holds(self, conversation_id: str) -> bool:
        """Return whether this process holds a conversation's lease."""
        return conversation_id in self._held

    async def is_held(self, conversation_id: str) -> bool:
        """Return whether somebody carries out calls of a conversation."""
        if conversation_id in self._held or self._shared is None:
            return conversation_id in self._held
        with suppress(UpstreamError):
            return await self._shared.is_held(conversation_id)
        return False

    async def wait(self, conversation_id: str) -> None:
        """Wait until nobody carries out calls; raises `ConversationLockedError` if that takes too long."""

        async def is_free() -> bool:
            return not await self.is_held(conversation_id)

        await self._until(is_free)

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        pause = _FIRST_PAUSE_SECONDS
        while not await condition():
            if asyncio.get_running_loop().time() > deadline:
                raise ConversationLockedError(
                    "The thread is busy: tools of an earlier message are still at work. Retry shortly."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def renew(self) -> None:
        """Renew all leases of this process, for ever."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            if self._shared is not None and self._held:
                with suppress(UpstreamError):
                    await self._shared.renew(list(self._held), LEASE_SECONDS)
