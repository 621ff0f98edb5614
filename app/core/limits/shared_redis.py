"""One Redis that replicas share, and what happens while it is away.

Every call has a short deadline. The first one that fails closes the way to Redis for all others, so that an
outage costs one deadline and not one a request; a probe opens it again. The log gets one line for each.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.core.config import Settings

_log = structlog.get_logger(__name__)
T = TypeVar("T")
CALL_SECONDS = 1.0
_PROBE_SECONDS = 1.0
_MAX_CONNECTIONS = 16


class RedisAwayError(Exception):
    """Redis did not answer in time, or answered with a failure."""


class SharedRedis:
    """A client of one Redis; `call` raises `RedisAwayError`, at once while Redis is known to be away."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=CALL_SECONDS,
            socket_connect_timeout=CALL_SECONDS,
            socket_timeout=CALL_SECONDS,
            # Once, on a new connection: an idle one may have been closed from the other side.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
        )
        self.client = redis.asyncio.Redis.from_pool(pool)
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether calls fail at once, until a probe has been answered."""
        return self._probe is not None

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await one call within its deadline."""
        if self._probe is not None:
            raise RedisAwayError
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await call()
        except (RedisError, OSError, TimeoutError) as exc:
            self._close_way(exc)
            raise RedisAwayError from exc

    async def aclose(self) -> None:
        """Close the connections."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self.client.aclose()

    def _close_way(self, exc: Exception) -> None:
        if self._probe is None:
            _log.warning(
                "redis_away",
                error=type(exc).__name__,
                effect="limits and idempotency keys hold within this process only",
            )
            self._probe = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    # Each connection of before is dead, and would pass for a new outage when its turn comes.
                    await self.client.connection_pool.disconnect()
                    await self.client.ping()
            except (RedisError, OSError, TimeoutError):
                continue
            _log.warning("redis_back")
            self._probe = None
            return


@asynccontextmanager
async def opened_redis(settings: Settings) -> AsyncIterator[SharedRedis | None]:
    """Yield the Redis that replicas share, or None; it need not be there yet."""
    url = settings.rate_limit_storage.get_secret_value()
    if url.startswith("memory:"):
        yield None
        return
    redis = SharedRedis(url)
    try:
        yield redis
    finally:
        await redis.aclose()
