"""Rate limits: how many requests a caller may send in a window of time.

slowapi holds the limits and counts in this process. Its decorator is not used, for two reasons: each route
would have to take a request and a response, and with Redis it blocks the event loop, and so every stream,
while it waits for the network. Counts that replicas share go through the asynchronous part of `limits`, the
library below slowapi, with the same keys. Without Redis, or while it is away, slowapi's own limiter decides.
"""

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.storage import Storage
from slowapi import Limiter
from starlette.requests import Request
from starlette.types import Scope

from app.core.caller import Caller
from app.core.config import Settings
from app.core.errors import RateLimitedError
from app.core.limits.shared_redis import RedisAwayError, SharedRedis

MAX_COUNTERS = 100_000
Bucket = Literal["chat", "writes", "reads", "sessions"]
_WORK = ("/chat", "/ag-ui", "/runs", "/submit_tool_outputs")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_STRATEGY = "fixed-window"
_PREFIX = "soloist"


@dataclass(slots=True)
class Window:
    """A caller's remaining requests in a window that ends at `ends_at`, in unix seconds."""

    limit: RateLimitItem
    remaining: int
    ends_at: float
    is_exceeded: bool

    @property
    def seconds_left(self) -> int:
        """Whole seconds until the window ends, at least one."""
        return max(1, math.ceil(self.ends_at - time.time()))

    def headers(self) -> dict[str, str]:
        """Return the `ratelimit-*` response headers."""
        return {
            "ratelimit-limit": str(self.limit.amount),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.seconds_left),
        }


def bucket_of(method: str, path: str) -> Bucket:
    """Return the limit that a request counts for; polling must not use up the limit of chats."""
    if method in _SAFE_METHODS:
        return "reads"
    if path.endswith("/sessions"):
        return "sessions"
    return "chat" if path.endswith(_WORK) else "writes"


def caller_of(request: Request) -> str:
    """Return the key of slowapi's counters: a session, else a user, else an API key, else an address."""
    return cast("Caller", request.state.caller).counted_as or ""


class RateLimits:
    """The limits on requests."""

    def __init__(self, settings: Settings, redis: SharedRedis | None) -> None:
        self._is_enabled = settings.rate_limit_enabled
        self._limiter = new_limiter()
        self._limits: dict[Bucket, RateLimitItem] = {
            bucket: parse(getattr(settings, f"rate_limit_{bucket}")) for bucket in get_args(Bucket)
        }
        self._shared = SharedCounters(redis) if redis else None

    async def admit(self, scope: Scope, caller: Caller) -> dict[str, str]:
        """Count a request and return its `ratelimit-*` headers; raises `RateLimitedError`."""
        if not self._is_enabled or caller.counted_as is None:
            return {}
        bucket = bucket_of(scope["method"], scope["path"])
        limit, counted_as = self._limits[bucket], caller.counted_as
        if bucket == "chat" and caller.chat_limit:
            limit = parse(caller.chat_limit)
        # A backend mints sessions for many users, so its key is counted, not the user.
        if bucket == "sessions" and caller.kind == "api_key":
            counted_as = f"key:{caller.key_name}"
        window = await self._hit(limit, bucket, counted_as)
        if window.is_exceeded:
            raise _over_limit(window, bucket)
        return window.headers()

    async def _hit(self, limit: RateLimitItem, bucket: str, counted_as: str) -> Window:
        if self._shared is not None:
            try:
                return await self._shared.hit(limit, bucket, counted_as)
            except RedisAwayError:
                pass
        # The same as the strategy's `hit` and `get_window_stats`, which would build the key twice.
        counters, key = self._limiter.limiter.storage, limit.key_for(bucket, counted_as)
        count = counters.incr(key, limit.get_expiry())
        return Window(limit, max(0, limit.amount - count), counters.get_expiry(key), count > limit.amount)


class AttemptLimit:
    """The limit on refused credentials of an address; in this process, so that a refusal stays cheap."""

    def __init__(self, settings: Settings) -> None:
        self._is_enabled = settings.rate_limit_enabled
        self._limit = parse(settings.rate_limit_auth_failures)
        self._limiter = new_limiter()

    def check(self, address: str) -> None:
        """Raise `RateLimitedError` for an address with too many refused credentials."""
        if self._is_enabled and not self._limiter.limiter.test(self._limit, address):
            ends_at, remaining = self._limiter.limiter.get_window_stats(self._limit, address)
            window = Window(self._limit, remaining, ends_at, is_exceeded=True)
            raise _over_limit(window, "refused credentials")

    def failed(self, address: str) -> None:
        """Count a refused credential."""
        self._limiter.limiter.hit(self._limit, address)


class SharedCounters:
    """Counters in Redis; a hit takes one call, or two if this replica has not seen the window begin."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis
        pool: Any = redis.client.connection_pool
        self._storage = RedisStorage("redis://", implementation="redispy", connection_pool=pool)
        self._ends: OrderedDict[str, float] = OrderedDict()

    async def hit(self, limit: RateLimitItem, *names: str) -> Window:
        """Count a request; raises `RedisAwayError`."""
        key, expiry = limit.key_for(_PREFIX, *names), limit.get_expiry()
        count = await self._redis.call(lambda: self._storage.incr(key, expiry))
        ends_at = self._ends.get(key, 0.0)
        # The hit has opened the window, so its end is known without a second call.
        if count == 1:
            ends_at = time.time() + expiry
        elif ends_at <= time.time():
            ends_at = await self._redis.call(lambda: self._storage.get_expiry(key))
        self._ends[key] = ends_at
        if len(self._ends) > MAX_COUNTERS:
            self._ends.popitem(last=False)
        return Window(limit, max(0, limit.amount - count), ends_at, count > limit.amount)


class BoundedMemoryStorage(Storage):
    """Fixed-window counters in memory; above `MAX_COUNTERS` the least recently used one is deleted.

    The memory storage of `limits` has a thread for expiry and no bound on its keys, so strangers could make
    it grow without end.
    """

    STORAGE_SCHEME = ["bounded-memory"]  # noqa: RUF012 - declared by the base class without ClassVar

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """The storage's own exceptions; it has none."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter and return the count; a new window lasts `expiry` seconds."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        if ends_at <= time.time():
            count, ends_at = 0, time.time() + expiry
        self._counters[key] = (count + amount, ends_at)
        self._counters.move_to_end(key)
        if len(self._counters) > MAX_COUNTERS:
            self._counters.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """Return the count of the current window."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends, in unix seconds."""
        return self._counters.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Return that the storage works."""
        return True

    def reset(self) -> int:
        """Delete all counters and return how many there were."""
        count = len(self._counters)
        self._counters.clear()
        return count

    def clear(self, key: str) -> None:
        """Delete a counter."""
        self._counters.pop(key, None)


def new_limiter() -> Limiter:
    """Return a slowapi limiter that counts in this process."""
    return Limiter(
        key_func=caller_of, strategy=_STRATEGY, storage_uri=f"{BoundedMemoryStorage.STORAGE_SCHEME[0]}://"
    )


def _over_limit(window: Window, what: str) -> RateLimitedError:
    """Return the error for a request over a limit."""
    return RateLimitedError(
        f"Over the limit of {window.limit} for {what}. Retry in {window.seconds_left} s.",
        headers=window.headers() | {"retry-after": str(window.seconds_left)},
    )
