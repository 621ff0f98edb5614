"""Where the outcomes of repeated requests are kept: this process, or a Redis that replicas share."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any, Protocol, cast

import msgspec
import orjson

from app.core.limits.shared_redis import SharedRedis

_MAX_RECORDS = 10_000
_MAX_BYTES = 64 * 1024 * 1024
_CLAIM_SECONDS = 30
"""A claim in Redis that nobody renews for so long belonged to a replica that is gone."""

_POLL_SECONDS = 0.1
_PREFIX = "soloist:idempotency:"


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """A whole answer: its status, the headers that were its own, and its JSON body."""

    status: int
    headers: dict[str, str]
    body: Any


class StartedRun(msgspec.Struct, frozen=True, tag="run"):
    """What a stream had started; ids are the public ones."""

    thread_id: str
    run_id: str


class Record(msgspec.Struct, frozen=True):
    """One key: which body came with it, and what came of it, if it has been answered."""

    fingerprint: bytes
    outcome: Answer | StartedRun | None = None


class Records(Protocol):
    """A place for records by name."""

    renewal_seconds: float

    async def claim(self, name: str, fingerprint: bytes) -> Record | None:
        """Return the record there is; where there is none, put an open one there and return None."""

    async def put(self, name: str, record: Record) -> None:
        """Keep an answered record until its time is over."""

    async def drop(self, name: str) -> None:
        """Take a record away."""

    async def renew(self, name: str) -> None:
        """Say that the claim's holder still works on it."""

    async def changed(self, name: str) -> None:
        """Wait until an open record may have been answered or dropped."""


class _Slot:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.expires_at = float("inf")
        self.size = 0
        self.answered = asyncio.Event()


class MemoryRecords:
    """Records of this process; over the bound the oldest are forgotten."""

    renewal_seconds = 3_600.0

    def __init__(self, *, ttl_seconds: float, max_bytes: int = _MAX_BYTES) -> None:
        self._ttl_seconds = ttl_seconds
        self._max_bytes = max_bytes
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._size = 0

    async def claim(self, name: str, fingerprint: bytes) -> Record | None:
        """See `Records.claim`."""
        slot = self._slots.get(name)
        if slot is not None and slot.expires_at > time.monotonic():
            return slot.record
        await self.drop(name)
        self._slots[name] = _Slot(Record(fingerprint))
        self._forget_oldest()
        return None

    async def put(self, name: str, record: Record) -> None:
        """See `Records.put`."""
        waiting = self._slots.pop(name, None)
        slot = self._slots[name] = _Slot(record)
        slot.expires_at = time.monotonic() + self._ttl_seconds
        slot.size = len(orjson.dumps(record.outcome.body)) if isinstance(record.outcome, Answer) else 0
        self._size += slot.size
        if waiting:
            waiting.answered.set()
        self._forget_oldest()

    async def drop(self, name: str) -> None:
        """See `Records.drop`."""
        slot = self._slots.pop(name, None)
        if slot is not None:
            self._size -= slot.size
            slot.answered.set()

    async def renew(self, name: str) -> None:
        """Nothing to do: the holder lives as long as the record."""

    async def changed(self, name: str) -> None:
        """See `Records.changed`."""
        slot = self._slots.get(name)
        if slot is not None:
            await slot.answered.wait()

    def _forget_oldest(self) -> None:
        while len(self._slots) > _MAX_RECORDS or (self._size > self._max_bytes and len(self._slots) > 1):
            _, slot = self._slots.popitem(last=False)
            self._size -= slot.size
            slot.answered.set()


class RedisRecords:
    """Records in Redis; every method raises `RedisAwayError`."""

    renewal_seconds = _CLAIM_SECONDS / 3

    def __init__(self, redis: SharedRedis, *, ttl_seconds: int) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds

    async def claim(self, name: str, fingerprint: bytes) -> Record | None:
        """See `Records.claim`."""
        claim = msgspec.msgpack.encode(Record(fingerprint))
        client, key = self._redis.client, _PREFIX + name
        # In Redis one step: SET … NX GET returns what is there, or nothing after having set it.
        found = await self._redis.call(
            lambda: cast("Awaitable[Any]", client.set(key, claim, nx=True, get=True, ex=_CLAIM_SECONDS))
        )
        return msgspec.msgpack.decode(found, type=Record) if found else None

    async def put(self, name: str, record: Record) -> None:
        """See `Records.put`."""
        client, data = self._redis.client, msgspec.msgpack.encode(record)
        await self._redis.call(
            lambda: cast("Awaitable[Any]", client.set(_PREFIX + name, data, ex=self._ttl_seconds))
        )

    async def drop(self, name: str) -> None:
        """See `Records.drop`."""
        client = self._redis.client
        await self._redis.call(lambda: cast("Awaitable[Any]", client.delete(_PREFIX + name)))

    async def renew(self, name: str) -> None:
        """See `Records.renew`."""
        client = self._redis.client
        await self._redis.call(lambda: cast("Awaitable[Any]", client.expire(_PREFIX + name, _CLAIM_SECONDS)))

    async def changed(self, name: str) -> None:
        """See `Records.changed`; other replicas answer too, so the record is asked for again and again."""
        await asyncio.sleep(_POLL_SECONDS)
