"""Responses that outlive their client, before upstreams that have no background mode or store nothing.

This process reads them to their end. Any replica reads their state from the store, and cancels them there.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import orjson
import structlog

from app.core.background import BackgroundTasks
from app.core.own_conversations.recording import RecordedStream, Recorder
from app.core.own_conversations.turn_records import StoredResponse, TurnEnd
from app.core.own_conversations.turn_requests import Turn
from app.core.own_conversations.turns import Turns
from app.core.upstream.errors import UpstreamBrokenError, UpstreamDeadlineError, UpstreamError
from app.core.upstream.port import CallOptions, UpstreamStream
from app.translate.events import Json
from app.translate.objects import RUN_EXPIRED

_log = structlog.get_logger(__name__)
_CANCEL_SECONDS = 10.0
_POLL_SECONDS = 0.1
_MOST_CHUNKS = 64


class _CutShortError(UpstreamBrokenError):
    """The run was cancelled, or this process stops."""


class BackgroundRuns:
    """The responses that this process works on, by their ids."""

    def __init__(self, turns: Turns, background: BackgroundTasks) -> None:
        self._turns = turns
        self._background = background
        self._runs: dict[str, BackgroundRun] = {}

    async def start(self, body: Json, options: CallOptions) -> bytes:
        """Begin a response and return its first state."""
        run = await self._begun(body, options)
        run.leave()
        return orjson.dumps(await run.first_state())

    async def open(self, body: Json, options: CallOptions) -> UpstreamStream:
        """Begin a response and return its stream, which may be closed before the response ends."""
        return await self._begun(body, options)

    def stop(self, response_id: str) -> None:
        """Stop a response if this process works on it."""
        if (run := self._runs.get(response_id)) is not None:
            run.stop()

    async def cancel(self, response: StoredResponse) -> StoredResponse:
        """Stop a response, wherever it is worked on, and return its last state.

        Raises `UpstreamMissingError` if its conversation is deleted meanwhile.
        """
        table, found = self._turns.table, response
        self.stop(response.id)
        if response.id not in self._runs:
            await table.ask_to_cancel(response.id)
        deadline = asyncio.get_running_loop().time() + _CANCEL_SECONDS
        while found.is_live and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            found = await table.known_response(response.id)
        return found

    async def _begun(self, body: Json, options: CallOptions) -> "BackgroundRun":
        turn = await self._turns.begin(body)
        given: CallOptions = {**options, "life": self._turns.deadline_seconds}
        # Only a stream tells early that the response exists.
        stream = await self._turns.opened(turn, given, stream=True, background=None)
        return BackgroundRun(self._turns, turn, stream, self._runs, self._background)


class BackgroundRun(Recorder):
    """One response, read to its end by `work`; as an `UpstreamStream`, its client's view of that."""

    keeps_text = True

    def __init__(
        self,
        turns: Turns,
        turn: Turn,
        stream: UpstreamStream,
        runs: "dict[str, BackgroundRun]",
        background: BackgroundTasks,
    ) -> None:
        self.status = stream.status
        self.headers: Mapping[str, str] = stream.headers
        self._turns = turns
        self._turn = turn
        self._stream = RecordedStream(stream, self)
        self._runs = runs
        self._created: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._chunks: asyncio.Queue[bytes | UpstreamError | None] = asyncio.Queue(_MOST_CHUNKS)
        self._is_followed = True
        self._is_stopped = False
        self._is_over = False
        self._task = background.spawn(self._work())

    def stop(self) -> None:
        """Cancel the response; a second call would cut off the storing of what it said."""
        if not self._is_stopped:
            self._is_stopped = True
            self._task.cancel()

    async def first_state(self) -> Json:
        """Return the response as it began; raises the `UpstreamError` if it did not."""
        return await asyncio.shield(self._created)

    def leave(self) -> None:
        """Go on without a reader."""
        self._is_followed = False
        while not self._chunks.empty():
            # Whoever waits to put a chunk goes on.
            self._chunks.get_nowait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what the stream brings, as its client gets it."""
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, UpstreamError):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        """Leave; the response goes on."""
        self.leave()

    async def _work(self) -> None:
        """Read the stream to its end, and store what it says."""
        failure: UpstreamError | None = None
        try:
            async for chunk in self._stream:
                await self._pass_on(chunk)
            if not self._is_over:
                failure = UpstreamBrokenError()
        except UpstreamError as exc:
            failure = exc
        except asyncio.CancelledError:
            failure = _CutShortError()
        finally:
            if failure is not None:
                await self._cut_off(failure)
            await self._stream.aclose()
            if self._created.done():
                self._forget(str(self._created.result()["id"]))
            else:
                self._created.set_exception(failure or UpstreamBrokenError())
                self._created.exception()  # somebody may have left who would have asked for it
            await self._pass_on(failure)

    async def began(self, response: Json) -> Json:
        """Store the response; any replica can read it from now on."""
        shown = self._turns.shown(self._turn, response) | {"background": True}
        if not self._created.done():
            turn = self._turn
            await self._turns.table.started(turn.lease, shown, turn.kept, turn.origin, stored_until=None)
            self._runs[str(shown["id"])] = self
            self._created.set_result(shown)
        return shown

    async def ended(self, response: Json, items: list[Json]) -> Json:
        """Store the turn."""
        shown = await self._turns.ended(self._turn, response | {"background": True}, items)
        self._is_over = True
        return shown

    async def closed(self) -> None:
        """Give the conversation back if nothing was stored."""
        if not self._is_over:
            await self._turns.leases.give_back(self._turn.lease)

    def _forget(self, response_id: str) -> None:
        # Upstreams may repeat an id: then another run may stand under it.
        if self._runs.get(response_id) is self:
            del self._runs[response_id]

    async def _cut_off(self, failure: UpstreamError) -> None:
        """Store a response that did not end by itself: the question, and the answer so far."""
        if self._is_over or not self._created.done():
            return
        self._is_over = True
        said, turn = self._stream.said(), self._turn
        response = self._created.result() | self._state_after(failure) | {"output": said}
        self._turns.leases.discard(turn.lease)
        try:
            await self._turns.table.end(
                turn.lease, TurnEnd(response, turn.kept, said, turn.origin, is_stored=False)
            )
        except UpstreamError as exc:
            _log.warning("run_not_stored", code=exc.code)

    def _state_after(self, failure: UpstreamError) -> Json:
        if self._is_stopped:
            return {"status": "cancelled"}
        is_expired = isinstance(failure, UpstreamDeadlineError | _CutShortError)
        code = RUN_EXPIRED if is_expired else "server_error"
        return {"status": "failed", "error": {"code": code, "message": "The run was cut off."}}

    async def _pass_on(self, chunk: bytes | UpstreamError | None) -> None:
        if self._is_followed:
            await self._chunks.put(chunk)
