"""Stores for outcomes of requests with an idempotency key: this process's memory, or Redis."""

import asyncio
import time
from collections import OrderedDict
from typing import Any

import msgspec
import orjson
import structlog

from app.core.limits.shared_redis import PROBE_SECONDS, SharedRedis

_log = structlog.get_logger(__name__)
_MAX_RECORDS = 10_000
_MAX_BYTES = 64 * 1024 * 1024
# A claim in Redis ends when it is not renewed for so long: its replica has died.
_CLAIM_SECONDS = 30
RENEWAL_SECONDS = _CLAIM_SECONDS / 3
LOOK_SECONDS = 0.5
"""How often a replica looks whether Redis has been started again."""

_AMNESIA_SECONDS = LOOK_SECONDS + 4 * PROBE_SECONDS
"""How long a Redis that was started again may not know of what replicas hold."""

_POLL_SECONDS = 0.1
_PREFIX = "soloist:idempotency:"
_KNOWS_SINCE = "soloist:idempotency-since"
"""Since when, in unix time, Redis has known every claim; absent after it has lost its memory."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """A whole answer: its status, its own headers, and its JSON body."""

    status: int
    headers: dict[str, str]
    body: Any


class StartedRun(msgspec.Struct, frozen=True, tag="run"):
    """The run that a stream has started; the ids are public ones."""

    thread_id: str
    run_id: str


class Record(msgspec.Struct, frozen=True):
    """One key: the hash of the request's body, and the outcome once there is one."""

    fingerprint: bytes
    outcome: Answer | StartedRun | None = None


class _Slot:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.expires_at = float("inf")
        self.size = 0
        self.answered = asyncio.Event()


class MemoryRecords:
    """Records in memory; above 10,000 records or `max_bytes` the oldest are deleted."""

    def __init__(self, *, ttl_seconds: float, max_bytes: int = _MAX_BYTES) -> None:
        self._ttl_seconds = ttl_seconds
        self._max_bytes = max_bytes
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._size = 0

    async def claim(self, name: str, fingerprint: bytes) -> Record | None:
        """Return the stored record; if there is none, store one without an outcome and return None."""
        slot = self._slots.get(name)
        if slot is not None and slot.expires_at > time.monotonic():
            return slot.record
        await self.drop(name)
        self._slots[name] = _Slot(Record(fingerprint))
        self._forget_oldest()
        return None

    async def put(self, name: str, record: Record) -> None:
        """Store a record with its outcome until it expires, and wake those who wait for it."""
        waiting = self._slots.pop(name, None)
        slot = self._slots[name] = _Slot(record)
        slot.expires_at = time.monotonic() + self._ttl_seconds
        slot.size = len(orjson.dumps(record.outcome.body)) if isinstance(record.outcome, Answer) else 0
        self._size += slot.size
        if waiting:
            waiting.answered.set()
        self._forget_oldest()

    def outcomes(self) -> list[tuple[str, Record]]:
        """Return the records that have an outcome and are still valid, by name."""
        now = time.monotonic()
        valid = [(name, slot.record) for name, slot in self._slots.items() if slot.expires_at > now]
        return [(name, record) for name, record in valid if record.outcome is not None]

    async def drop(self, name: str) -> None:
        """Delete a record, and wake those who wait for it."""
        slot = self._slots.pop(name, None)
        if slot is not None:
            self._size -= slot.size
            slot.answered.set()

    async def changed(self, name: str) -> None:
        """Wait until a claimed record has an outcome or is gone."""
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

    def __init__(self, redis: SharedRedis, *, ttl_seconds: int) -> None:
        self._call = redis.call
        self._since: bytes | None = None  # what Redis was last seen to say
        self._client: Any = redis.client  # its types leave open whether a command is awaitable
        self._ttl_seconds = ttl_seconds

    async def claim(self, name: str, fingerprint: bytes) -> Record | None:
        """Return the stored record; if there is none, store one without an outcome and return None."""
        while True:
            since, found = await self._asked(name, fingerprint)
            try:
                known = msgspec.msgpack.decode(found, type=Record) if found else None
            except msgspec.MsgspecError:
                _log.warning("idempotency_record_unreadable")
                await self.renew(name, fingerprint)
                return None
            left = _AMNESIA_SECONDS - (time.time() - float(since or time.time()))
            if known is not None or left <= 0:
                return known
            # Redis has lost its memory: replicas that are at work first have to claim their keys again.
            await self.drop(name)
            await asyncio.sleep(left)

    async def _asked(self, name: str, fingerprint: bytes) -> tuple[bytes | None, bytes | None]:
        """Return since when Redis has known all claims, and the record of a key; set what is absent."""
        claim = msgspec.msgpack.encode(Record(fingerprint))

        def ask() -> Any:
            both = self._client.pipeline()
            both.set(_KNOWS_SINCE, time.time(), nx=True, get=True)
            both.set(_PREFIX + name, claim, nx=True, get=True, ex=_CLAIM_SECONDS)
            return both.execute()

        since, found = await self._call(ask)
        return since, found

    async def greet(self) -> None:
        """Tell a Redis that is new to this service that it knows all keys there are."""
        found = await self._call(lambda: self._client.set(_KNOWS_SINCE, 0, nx=True, get=True))
        self._since = found or b"0"

    async def has_forgotten(self) -> bool:
        """Return whether Redis has been started anew since the last call; tells it since when it knows."""
        since = await self._call(lambda: self._client.set(_KNOWS_SINCE, time.time(), nx=True, get=True))
        before, self._since = self._since, since
        return since is None or since != before

    async def put(self, name: str, record: Record) -> None:
        """Store a record with its outcome until it expires."""
        data = msgspec.msgpack.encode(record)
        await self._call(lambda: self._client.set(_PREFIX + name, data, ex=self._ttl_seconds))

    async def drop(self, name: str) -> None:
        """Delete a record."""
        await self._call(lambda: self._client.delete(_PREFIX + name))

    async def renew(self, name: str, fingerprint: bytes) -> None:
        """Set a claim for thirty seconds more; a Redis that was started again has forgotten it."""
        claim = msgspec.msgpack.encode(Record(fingerprint))
        await self._call(lambda: self._client.set(_PREFIX + name, claim, ex=_CLAIM_SECONDS))

    async def changed(self, name: str) -> None:
        """Wait a moment: other replicas answer too, so the caller asks for the record again and again."""
        await asyncio.sleep(_POLL_SECONDS)


Records = MemoryRecords | RedisRecords
