"""The Redis that replicas share, and the behaviour while it is away.

Every call has a short deadline. After a failure all calls fail at once until a probe succeeds, so that an
outage costs one deadline and not one for each request. The log gets a line at its begin and one at its end.
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
from redis.exceptions import RedisError, ResponseError

from app.core.config import Settings

_log = structlog.get_logger(__name__)
T = TypeVar("T")
CALL_SECONDS = 1.0
PROBE_SECONDS = 0.25
_MAX_CONNECTIONS = 16


class RedisAwayError(Exception):
    """Redis did not answer in time, or failed."""


class RedisRefusedError(RedisAwayError):
    """Redis answered, but refused the call: it is full, say, or holds a value of another type."""


class SharedRedis:
    """A Redis client that fails fast while Redis is away."""

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=CALL_SECONDS,
            socket_connect_timeout=CALL_SECONDS,
            socket_timeout=CALL_SECONDS,
            # One retry, on a new connection: Redis may have closed an idle one.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
        )
        self.client = redis.asyncio.Redis.from_pool(pool)
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether calls fail at once, because no probe has succeeded yet."""
        return self._probe is not None

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await one call for a second at most; raises `RedisAwayError` or `RedisRefusedError`."""
        if self._probe is not None:
            raise RedisAwayError
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await call()
        except ResponseError as exc:
            raise RedisRefusedError from exc
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
            effect = "limits and idempotency keys hold within this process only"
            _log.warning("redis_away", error=type(exc).__name__, effect=effect)
            self._probe = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    # The old connections are dead, and each would look like a new outage.
                    await self.client.connection_pool.disconnect()
                    await self.client.ping()
            except (RedisError, OSError, TimeoutError):
                continue
            _log.warning("redis_back")
            self._probe = None
            return


@asynccontextmanager
async def opened_redis(settings: Settings) -> AsyncIterator[SharedRedis | None]:
    """Yield the client, or None where no Redis is configured; Redis need not be up yet."""
    if settings.redis_url is None:
        yield None
        return
    redis = SharedRedis(settings.redis_url)
    try:
        yield redis
    finally:
        await redis.aclose()
