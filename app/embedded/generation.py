"""One response in the making: its task, its event log and whoever reads along."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from app.embedded.events import EventLog
from app.embedded.include import shown_body
from app.embedded.items import text_of
from app.embedded.kinds import sparse_body
from app.embedded.objects import usage
from app.embedded.output import Output
from app.embedded.responders.base import (
    CallArguments,
    Incomplete,
    Responder,
    ResponderError,
    TextDelta,
    Turn,
)
from app.embedded.store.responses import now, restarted_error
from app.embedded.wire import Json

logger = logging.getLogger(__name__)

# A responder that never waits would hold the event loop for its whole answer.
_DELTAS_PER_BREATH = 128
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Pace:
    """Latency that the knobs ask for, in seconds."""

    first_token: float
    token: float


class Generation:
    """Runs a responder and logs its events; ends in exactly one of the terminal states."""

    def __init__(
        self,
        body: Json,
        turn: Turn,
        responder: Responder,
        pace: Pace,
        *,
        streamed: bool,
        include: Collection[str] = (),
        is_sparse: bool = False,
        cached_tokens: int = 0,
    ) -> None:
        self.body = body
        """As the creating request sees it."""
        self.include = include
        self.streamed = streamed
        """Created with background and stream, so its events may be replayed."""
        self.log = EventLog()
        self.done = asyncio.Event()
        self._turn = turn
        self._is_sparse = is_sparse
        self._cached_tokens = cached_tokens
        self._responder = responder
        self._pace = pace
        self._limit = turn.max_output_tokens or math.inf
        self._output = Output(body["id"], self.log, include)
        self._cut: str | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._restarting = False
        self._announce("response.created")
        if body["background"]:
            self._announce("response.queued")

    @property
    def id(self) -> str:
        """The response's id."""
        return str(self.body["id"])

    @property
    def fresh(self) -> list[Json]:
        """The input items of this response."""
        return self._turn.fresh

    def start(self, on_end: "Ending") -> None:
        """Begin; `on_end` stores the outcome before any reader learns of it."""
        self._task = asyncio.create_task(self._run(on_end))

    async def cancel(self, *, restarting: bool = False) -> None:
        """Stop and wait for the end; an answer that is already being stored still completes."""
        # A task cancelled before its first step would never reach its own ending.
        await asyncio.sleep(0)
        if self._task is not None and not self._ending:
            self._restarting = restarting
            self._task.cancel()
        await self.done.wait()

    async def batches(self, start: int = 0) -> AsyncIterator[Sequence[bytes]]:
        """Frames from sequence number `start` on, each batch all that is there, until the end."""
        frames = self.log.frames
        while True:
            if len(frames) > start:
                batch = frames[start:]
                start = len(frames)
                yield batch
            elif self.done.is_set():
                return
            else:
                await self._news()

    async def _news(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _tell(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _announce(self, name: str) -> None:
        self.log.add(name, {"response": self._shown(self.body)})

    def _shown(self, body: Json) -> Json:
        return sparse_body(body) if self._is_sparse else shown_body(body, self.include)

    async def _run(self, on_end: "Ending") -> None:
        try:
            await self._produce()
            changes = self._success()
        except asyncio.CancelledError:
            changes = (
                _failure(restarted_error()) if self._restarting else {"status": "cancelled", "output": []}
            )
        except ResponderError as exc:
            changes = _failure({"code": exc.code, "message": exc.message})
        except Exception:
            logger.exception("responder failed")
            changes = _failure({"code": "server_error", "message": "The embedded responder failed."})
        self._ending = True
        await self._end({**self.body, **changes}, on_end)

    async def _produce(self) -> None:
        self.body = {**self.body, "status": "in_progress"}
        self._announce("response.in_progress")
        self._tell()
        if self._pace.first_token:
            await asyncio.sleep(self._pace.first_token)
        async with aclosing(self._responder.answer(self._turn)) as pieces:
            async for piece in pieces:
                if isinstance(piece, TextDelta | CallArguments):
                    if self._output.deltas >= self._limit:
                        self._cut = "max_output_tokens"
                        break
                    await self._breathe()
                elif isinstance(piece, Incomplete):
                    self._cut = piece.reason
                    break
                self._output.add(piece)
                if self._waiters:
                    self._tell()

    async def _breathe(self) -> None:
        if self._pace.token:
            await asyncio.sleep(self._pace.token)
        elif self._output.deltas % _DELTAS_PER_BREATH == _DELTAS_PER_BREATH - 1:
            await asyncio.sleep(0)

    def _success(self) -> Json:
        status = "incomplete" if self._cut else "completed"
        self._output.close(status)
        return {
            "status": status,
            "incomplete_details": {"reason": self._cut} if self._cut else None,
            "completed_at": None if self._cut else now(),
            "output": self._output.items,
            "usage": usage(_estimate(self._turn), max(1, self._output.deltas), self._cached_tokens),
        }

    async def _end(self, body: Json, on_end: "Ending") -> None:
        # OpenAI has no event for a cancelled response: its streams just end.
        ends = body["status"] != "cancelled"
        shown = self._shown(body)
        last = [self.log.encode(f"response.{body['status']}", {"response": shown})] if ends else []
        try:
            await on_end(self, body, [*self.log.frames, *last])
        except Exception:
            logger.exception("could not store the end of a response")
        # Only now may anyone learn of the end: the conversation holds the turn and is free.
        self.body = shown
        self.log.frames.extend(last)
        self.done.set()
        self._tell()


Ending = Callable[[Generation, Json, Sequence[bytes]], Awaitable[None]]


def _failure(error: Json) -> Json:
    return {"status": "failed", "error": error, "output": []}


def _estimate(turn: Turn) -> int:
    chars = sum(len(text_of(item)) for item in turn.items)
    return max(1, (chars + len(turn.instructions or "")) // _CHARS_PER_TOKEN)
