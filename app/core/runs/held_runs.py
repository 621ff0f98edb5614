"""Active foreground runs, which only the replica that holds their stream can stop."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import orjson
import structlog
from redis.exceptions import RedisError

from app.core.background import BackgroundTasks, stop_task
from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.translate.events import Json

_log = structlog.get_logger(__name__)
_CHANNEL = "soloist:stop"
_ANSWERS_PREFIX = "soloist:stop:"
_NOT_HERE = b""
_ANSWER_SECONDS = 20.0
"""How long a replica may take to stop a run and keep its turn."""

_POLL_SECONDS = 0.05
_LISTEN_SECONDS = 0.5
_LISTEN_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run whose stream this replica holds.

    Args:
        conversation_id: the upstream conversation of its thread.
        stop: stops the run, keeps its turn and returns the cancelled Run; None if the run has just ended.

    """

    conversation_id: str
    stop: Callable[[], Awaitable[Json | None]]


@dataclass(eq=False)
class HeldRuns:
    """The foreground runs of this replica, by the id of their first response.

    With Redis, runs of other replicas can be stopped too.
    """

    background: BackgroundTasks
    redis: SharedRedis | None
    _held: dict[str, HeldRun] = field(default_factory=dict, init=False)

    def add(self, response_id: str, run: HeldRun) -> None:
        """Remember a run until `discard`."""
        self._held[response_id] = run

    def discard(self, response_id: str) -> None:
        """Forget a run."""
        self._held.pop(response_id, None)

    @contextmanager
    def holding(self, response_id: str, run: HeldRun) -> Iterator[None]:
        """Remember a run within the block."""
        self.add(response_id, run)
        try:
            yield
        finally:
            self.discard(response_id)

    async def stop(self, response_id: str | None, conversation_id: str) -> Json | None:
        """Stop a run of a conversation, or with None all; return a cancelled Run, None if none is held."""
        run = await self._stop_here(response_id, conversation_id)
        if run is None and self.redis is not None:
            with suppress(RedisAwayError):
                run = await self._stop_elsewhere(self.redis, response_id, conversation_id)
        return run

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Within the block, stop runs that other replicas ask for."""
        if self.redis is None:
            yield
            return
        listener = asyncio.create_task(self._listen(self.redis))
        try:
            yield
        finally:
            await stop_task(listener)

    async def _stop_here(self, response_id: str | None, conversation_id: str) -> Json | None:
        one = self._held.get(response_id) if response_id is not None else None
        found = list(self._held.values()) if response_id is None else [one] if one else []
        stopped = [await held.stop() for held in found if held.conversation_id == conversation_id]
        return next((run for run in stopped if run is not None), None)

    async def _stop_elsewhere(
        self, redis: SharedRedis, response_id: str | None, conversation_id: str
    ) -> Json | None:
        """Ask all replicas; wait until one has stopped the run or none of them holds it."""
        answers = _ANSWERS_PREFIX + secrets.token_hex(16)
        message = orjson.dumps([answers, response_id, conversation_id])
        asked = await redis.call(lambda: redis.client.publish(_CHANNEL, message))
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        # `publish` returns how many replicas got the message; each answers once.
        while asked > 0 and asyncio.get_running_loop().time() < deadline:
            answer = await redis.call(lambda: redis.client.lpop(answers))
            if answer is None:
                await asyncio.sleep(_POLL_SECONDS)
            elif isinstance(answer, bytes) and answer != _NOT_HERE:
                run: Json = orjson.loads(answer)
                return run
            else:
                asked -= 1
        return None

    async def _listen(self, redis: SharedRedis) -> None:
        while True:
            try:
                async with redis.client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_CHANNEL)
                    while True:
                        message = await channel.get_message(timeout=_LISTEN_SECONDS)
                        if message is not None:
                            self.background.spawn(self._answer(redis, message["data"]))
            except (RedisError, OSError):
                # Redis is away: runs can be stopped here only, until it is back.
                await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _answer(self, redis: SharedRedis, message: bytes) -> None:
        answers, response_id, conversation_id = orjson.loads(message)
        run = await self._stop_here(response_id, conversation_id)
        answer = _NOT_HERE if run is None else orjson.dumps(run)
        with suppress(RedisAwayError):
            await redis.call(lambda: redis.client.rpush(answers, answer))
            # The asker may be gone: nobody would remove the list then.
            await redis.call(lambda: redis.client.expire(answers, int(_ANSWER_SECONDS)))
