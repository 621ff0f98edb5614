"""`Idempotency-Key`: a repeated request gets the first one's answer, and starts nothing twice.

Claims and outcomes are kept in this process, and where one is configured in Redis, for other replicas.

Kept are all successes, and the failures after which it is unknown whether the upstream began (they carry
`x-should-retry: false`). After any other failure nothing has begun, so a repeat is tried anew. Of a stream
only its run is kept: a repeat follows that run from its start.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress

import structlog

from app.core.caller import Caller
from app.core.config import Settings
from app.core.errors import IdempotencyError, KeysUnavailableError, ServiceError
from app.core.limits.idempotency_stores import (
    LOOK_SECONDS,
    RENEWAL_SECONDS,
    Answer,
    MemoryRecords,
    Record,
    Records,
    RedisRecords,
    StartedRun,
)
from app.core.limits.shared_redis import RedisAwayError, RedisRefusedError, SharedRedis

_log = structlog.get_logger(__name__)


class Claim:
    """The right to carry out the first request with a key; ends with `keep`, `forget` or `fail`."""

    def __init__(
        self,
        own: Records,
        shared: RedisRecords | None,
        name: str,
        fingerprint: bytes,
        missed: Callable[[], None],
        held: dict[str, bytes],
    ) -> None:
        self._stores: list[Records] = [own, shared] if shared else [own]
        self._missed = missed
        self._held = held
        held[name] = fingerprint
        self._name = name
        self._fingerprint = fingerprint
        self._alive = asyncio.create_task(self._stay_alive(shared)) if shared else None

    async def keep(self, outcome: Answer | StartedRun) -> None:
        """Store the request's outcome; without Redis, a repeat that comes to this replica still finds it."""
        self._end()
        for records in self._stores:
            try:
                await records.put(self._name, Record(self._fingerprint, outcome))
            except RedisAwayError:
                self._missed()

    async def forget(self) -> None:
        """Let the next request with this key be the first one."""
        self._end()
        for records in self._stores:
            with suppress(RedisAwayError):
                await records.drop(self._name)

    async def fail(self, error: ServiceError) -> None:
        """Store a failure after which the upstream may have begun; forget any other."""
        if error.status_code >= 500 and error.headers.get("x-should-retry") == "false":
            await self.keep(Answer(error.status_code, dict(error.headers), error.body()))
        else:
            await self.forget()

    def _end(self) -> None:
        self._held.pop(self._name, None)
        if self._alive:
            self._alive.cancel()

    async def _stay_alive(self, shared: RedisRecords) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            with suppress(RedisAwayError):
                await shared.renew(self._name, self._fingerprint)


class Idempotency:
    """Finds the outcome of an earlier request with the same key, or claims the key."""

    def __init__(self, settings: Settings, redis: SharedRedis | None) -> None:
        ttl = settings.idempotency_ttl_seconds
        self._own = MemoryRecords(ttl_seconds=ttl)
        self._shared = RedisRecords(redis, ttl_seconds=ttl) if redis else None
        self._is_behind = False
        self._held: dict[str, bytes] = {}
        """The claims of requests that are being carried out here."""

    async def start(self) -> None:
        """Begin to use Redis, if there is one."""
        if self._shared is not None:
            with suppress(RedisAwayError):
                await self._shared.greet()

    async def watch(self) -> None:
        """Tell Redis again what this replica holds, whenever it has missed or forgotten that."""
        while (shared := self._shared) is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if await shared.has_forgotten() or self._is_behind:
                    self._is_behind = True
                    await self._tell(shared)
                    self._is_behind = False
            except RedisAwayError:
                continue

    async def _tell(self, shared: RedisRecords) -> None:
        for name, fingerprint in list(self._held.items()):
            await shared.renew(name, fingerprint)
        for name, record in self._own.outcomes():
            await shared.put(name, record)

    def _fall_behind(self) -> None:
        self._is_behind = True

    async def begin(self, caller: Caller, route: str, key: str, body: bytes) -> Claim | Answer | StartedRun:
        """Return the outcome of the first request with this key, or a claim if this is the first.

        Waits while the first request is being carried out. Raises `IdempotencyError` for another body.
        """
        # Hashed, because clients choose keys and paths, and Redis should not keep them.
        name = hashlib.sha256(
            # By user and not by credential: a retry may come with a new session.
            "\0".join((caller.owner or caller.counted_as or "", route, key)).encode()
        ).hexdigest()
        # Bodies may be large and private, so only their hash is stored.
        fingerprint = hashlib.sha256(body).digest()
        while True:
            # First in this process: a claim of ours holds even while Redis is away, or has forgotten it.
            records: Records = self._own
            found = await records.claim(name, fingerprint)
            if found is None:
                shared = await self._claimed_elsewhere(name, fingerprint)
                if shared is None:
                    return Claim(self._own, self._shared, name, fingerprint, self._fall_behind, self._held)
                records, found = shared
            if found.fingerprint != fingerprint:
                raise IdempotencyError(
                    "This 'Idempotency-Key' was used with another body. Take a new key for a new request."
                )
            if found.outcome is not None:
                return found.outcome
            await records.changed(name)

    async def _claimed_elsewhere(self, name: str, fingerprint: bytes) -> tuple[Records, Record] | None:
        """Claim the key in Redis too; return the record if another replica was first.

        Raises `KeysUnavailableError`: whether another replica is at it is unknown then.
        """
        if self._shared is None:
            return None
        try:
            found = await self._shared.claim(name, fingerprint)
        except RedisRefusedError:
            _log.warning("idempotency_key_not_shared")
            return None
        except BaseException as exc:
            await self._own.drop(name)
            if isinstance(exc, RedisAwayError):
                raise KeysUnavailableError from exc
            raise
        if found is None:
            return None
        await self._own.drop(name)
        return self._shared, found
