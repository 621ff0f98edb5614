"""`Idempotency-Key`: a repeated request gets the first one's answer, and starts nothing twice.

Outcomes are kept in Redis if one is configured; else in this process, where other replicas do not find them.

Kept are all successes, and the failures after which it is unknown whether the upstream began (they carry
`x-should-retry: false`). After any other failure nothing has begun, so a repeat is tried anew. Of a stream
only its run is kept: a repeat follows that run from its start.
"""

import asyncio
import hashlib
from contextlib import suppress

from app.core.caller import Caller
from app.core.config import Settings
from app.core.errors import IdempotencyError, ServiceError
from app.core.limits.idempotency_stores import (
    Answer,
    MemoryRecords,
    Record,
    Records,
    RedisRecords,
    StartedRun,
)
from app.core.limits.shared_redis import RedisAwayError, SharedRedis


class Claim:
    """The right to carry out the first request with a key; ends with `keep`, `forget` or `fail`."""

    def __init__(self, records: Records, fallback: Records, name: str, fingerprint: bytes) -> None:
        self._fallback = fallback
        self._records = records
        self._name = name
        self._fingerprint = fingerprint
        self._alive = asyncio.create_task(self._stay_alive())

    async def keep(self, outcome: Answer | StartedRun) -> None:
        """Store the request's outcome."""
        self._alive.cancel()
        record = Record(self._fingerprint, outcome)
        try:
            await self._records.put(self._name, record)
        except RedisAwayError:
            # A repeat that comes to this replica still finds the outcome.
            await self._fallback.put(self._name, record)

    async def forget(self) -> None:
        """Let the next request with this key be the first one."""
        self._alive.cancel()
        with suppress(RedisAwayError):
            await self._records.drop(self._name)

    async def fail(self, error: ServiceError) -> None:
        """Store a failure after which the upstream may have begun; forget any other."""
        if error.status_code >= 500 and error.headers.get("x-should-retry") == "false":
            await self.keep(Answer(error.status_code, dict(error.headers), error.body()))
        else:
            await self.forget()

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(self._records.renewal_seconds)
            with suppress(RedisAwayError):
                await self._records.renew(self._name)


class Idempotency:
    """Finds the outcome of an earlier request with the same key, or claims the key."""

    def __init__(self, settings: Settings, redis: SharedRedis | None) -> None:
        ttl = settings.idempotency_ttl_seconds
        self._own = MemoryRecords(ttl_seconds=ttl)
        self._shared = RedisRecords(redis, ttl_seconds=ttl) if redis else None

    async def begin(self, caller: Caller, route: str, key: str, body: bytes) -> Claim | Answer | StartedRun:
        """Return the outcome of the first request with this key, or a claim if this is the first.

        Waits while the first request is being carried out. Raises `IdempotencyError` for another body.
        """
        # Hashed, because clients choose keys and paths, and Redis should not keep them.
        name = hashlib.sha256(
            "\0".join((caller.owner, caller.counted_as or "", route, key)).encode()
        ).hexdigest()
        # Bodies may be large and private, so only their hash is stored.
        fingerprint = hashlib.sha256(body).digest()
        while True:
            records, found = await self._claimed(name, fingerprint)
            if found is None:
                return Claim(records, self._own, name, fingerprint)
            if found.fingerprint != fingerprint:
                raise IdempotencyError(
                    "This 'Idempotency-Key' was used with another body. Take a new key for a new request."
                )
            if found.outcome is not None:
                return found.outcome
            with suppress(RedisAwayError):
                await records.changed(name)

    async def _claimed(self, name: str, fingerprint: bytes) -> tuple[Records, Record | None]:
        if self._shared is not None:
            try:
                return self._shared, await self._shared.claim(name, fingerprint)
            except RedisAwayError:
                pass
        return self._own, await self._own.claim(name, fingerprint)
