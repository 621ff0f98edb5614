"""Empty conversations made ahead, so that the first message of a chat waits for one upstream call less."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from app.core.background import BackgroundTasks, wait_at_most
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamError, UpstreamMissingError
from app.translate.events import Json

_log = structlog.get_logger(__name__)
_MAX_AGE_SECONDS = 600.0
_MADE_AT_ONCE = 8
_DELETED_AT_ONCE = 50
_DELETE_SECONDS = 3.0
_LAST_CALLS_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class ConversationPool:
    """Up to `size` empty conversations, each handed out once; `clock` tells seconds since any moment."""

    def __init__(
        self,
        conversations: Conversations,
        size: int,
        *,
        max_age_seconds: float = _MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conversations = conversations
        self._size = size
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._spares: deque[tuple[float, Json]] = deque()
        self._aged: set[str] = set()
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks = BackgroundTasks()

    def take(self) -> Json | None:
        """Return a conversation that is the caller's alone, or None; never waits."""
        self._set_aged_aside()
        self._wanted.set()
        return self._spares.popleft()[1] if self._spares else None

    @asynccontextmanager
    async def kept_filled(self, is_draining: Callable[[], bool]) -> AsyncIterator[None]:
        """Fill the pool beside the block, until `is_draining`; at the end delete what nobody took."""
        self._tasks.spawn(self._keep_filled(is_draining))
        try:
            yield
        finally:
            self._closing.set()
            self._wanted.set()
            # A call that is cut off may leave a conversation behind whose id nobody knows.
            await self._tasks.drain(_LAST_CALLS_SECONDS)
            self._aged.update(str(spare["id"]) for _, spare in self._spares)
            await self._delete_aged()

    async def _keep_filled(self, is_draining: Callable[[], bool]) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing.is_set() and not is_draining():
            self._wanted.clear()
            self._set_aged_aside()
            try:
                await self._make(min(self._size - len(self._spares), _MADE_AT_ONCE))
            except UpstreamError as exc:
                _log.warning("conversation_pool_not_filled", error=exc.code, spare=len(self._spares))
                # Replicas that lost the same upstream are not to come back to it all at once.
                jitter = random.uniform(0.5, 1)  # noqa: S311 - no secret
                await wait_at_most(self._closing, pause * jitter)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            if len(self._spares) < self._size:
                continue
            if self._aged:
                await self._delete_aged()
            else:
                oldest_age = self._clock() - self._spares[0][0]
                await wait_at_most(self._wanted, self._max_age_seconds - oldest_age)

    async def _make(self, count: int) -> None:
        made_at = self._clock()

        async def make() -> None:
            self._spares.append((made_at, await self._conversations.create([], {})))

        results = await asyncio.gather(*(make() for _ in range(count)), return_exceptions=True)
        for result in results:
            if result is not None:
                raise result

    def _set_aged_aside(self) -> None:
        while self._spares and self._clock() - self._spares[0][0] >= self._max_age_seconds:
            self._aged.add(str(self._spares.popleft()[1]["id"]))

    async def _delete_aged(self) -> None:
        """Delete as far as that goes: what stays behind is empty. What a cancellation leaves stays aged."""
        gate, ids = asyncio.Semaphore(_DELETED_AT_ONCE), [*self._aged]

        async def delete(conversation_id: str) -> None:
            async with gate:
                with suppress(UpstreamMissingError):
                    await self._conversations.delete(conversation_id)
            self._aged.discard(conversation_id)

        with suppress(TimeoutError):
            async with asyncio.timeout(_DELETE_SECONDS):
                await asyncio.gather(*map(delete, ids), return_exceptions=True)
        if left := self._aged.intersection(ids):
            _log.warning("empty_conversations_left_behind", count=len(left))
            self._aged -= left
