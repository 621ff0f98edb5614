"""Locks by name: in this process, and with Redis among replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.upstream.errors import ConversationLockedError

_PREFIX = "soloist:lock:"
_LONGEST_SECONDS = 120.0
"""After so long, other replicas take a replica that holds a lock for dead."""

_PAUSE_SECONDS = 0.05


@dataclass(eq=False)
class SharedLocks:
    """Locks of one `kind`, which keeps their names apart from other kinds'.

    Without Redis, or while it is away, replicas do not see each other's.
    """

    redis: SharedRedis | None
    kind: str
    wait_seconds: float
    _own: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncIterator[None]:
        """Hold a lock; raises `ConversationLockedError` if another replica holds it too long."""
        async with self._own.setdefault(name, asyncio.Lock()):
            shared = await self._shared(name)
            try:
                yield
            finally:
                if self.redis is not None and shared is not None:
                    with suppress(RedisAwayError, LockError):
                        await self.redis.call(shared.release)

    async def _shared(self, name: str) -> Lock | None:
        """Take the lock that replicas share; None without Redis, or while it is away."""
        if (redis := self.redis) is None:
            return None
        key = f"{_PREFIX}{self.kind}:{name}"
        lock = redis.client.lock(key, timeout=_LONGEST_SECONDS, thread_local=False)
        deadline = asyncio.get_running_loop().time() + self.wait_seconds
        with suppress(RedisAwayError):
            while not await redis.call(lambda: lock.acquire(blocking=False)):
                if asyncio.get_running_loop().time() > deadline:
                    raise ConversationLockedError("Another request holds the thread or run. Retry shortly.")
                await asyncio.sleep(_PAUSE_SECONDS)
            return lock
        return None
