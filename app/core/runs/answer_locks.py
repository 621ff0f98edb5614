"""Lets one submission of tool outputs through for each run, so that a repeated one finds it answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.upstream.errors import ConversationLockedError

_PREFIX = "soloist:answering:"
_LONGEST_SECONDS = 120.0
"""After so long, other replicas take a replica that answers a run for dead."""

_PAUSE_SECONDS = 0.05


@dataclass(eq=False)
class AnswerLocks:
    """Locks by run: in this process, and with Redis among replicas.

    Without Redis, the upstream's lock of the conversation is all that keeps replicas apart.
    """

    redis: SharedRedis | None
    wait_seconds: float
    _own: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    @asynccontextmanager
    async def answering(self, run_id: str) -> AsyncIterator[None]:
        """Hold the lock of a run; raises `ConversationLockedError` if others hold it too long."""
        async with self._own.setdefault(run_id, asyncio.Lock()):
            shared = await self._shared(run_id)
            try:
                yield
            finally:
                if self.redis is not None and shared is not None:
                    with suppress(RedisAwayError, LockError):
                        await self.redis.call(shared.release)

    async def _shared(self, run_id: str) -> Lock | None:
        """Take the lock that replicas share; None without Redis, or while it is away."""
        if (redis := self.redis) is None:
            return None
        lock = redis.client.lock(_PREFIX + run_id, timeout=_LONGEST_SECONDS, thread_local=False)
        deadline = asyncio.get_running_loop().time() + self.wait_seconds
        with suppress(RedisAwayError):
            while not await redis.call(lambda: lock.acquire(blocking=False)):
                if asyncio.get_running_loop().time() > deadline:
                    raise ConversationLockedError("The run is being answered by another request.")
                await asyncio.sleep(_PAUSE_SECONDS)
            return lock
        return None
