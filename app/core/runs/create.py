"""Creates the upstream responses of runs and chats."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from app.core.background import BackgroundTasks
from app.core.budgets.service import Budgets, Reservation
from app.core.caller import RequestScope
from app.core.config import OnDisconnect
from app.core.errors import ContentBlockedError, ServiceError
from app.core.logging import note
from app.core.observability.run_metrics import RunMeasurement, RunMetrics
from app.core.runs.follow import FollowedRun, ForegroundStream, RunStream
from app.core.runs.follow_background import BackgroundStream
from app.core.runs.held_runs import HeldRun, HeldRuns
from app.core.runs.lookup import RunView
from app.core.runs.overrides import RunOverrides
from app.core.runs.stopped_turns import StoppedTurn, StoppedTurns
from app.core.runs.tool_outputs import ToolRounds
from app.core.safety.moderation import heed
from app.core.upstream.background_mode import BackgroundMode
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.errors import (
    BackgroundRefusedError,
    ToolOutputMissingError,
    UpstreamMissingError,
    UpstreamRefusedError,
    not_found_as,
)
from app.core.upstream.port import UpstreamStream
from app.core.upstream.responses import Responses
from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded
from app.translate.moderation import is_block
from app.translate.objects import run_object
from app.translate.run_metadata import RunRounds
from app.translate.run_translator import RunTranslator, run_ended

T = TypeVar("T")
R = TypeVar("R", bound=FollowedRun)
UNANSWERED_HEADER = "x-unanswered-tool-calls"
DROPPED_HEADER = "x-dropped-items"
"""How many of a thread's oldest items the model was not shown, as its window has no room for them."""

_MOST_HEADER_CHARS = 4_000


@dataclass(eq=False)
class RunCreator:
    """Creates responses, which are awaited whole, followed as a stream, or left in the background."""

    responses: Responses
    mode: BackgroundMode
    metadata: ConversationMetadata
    rounds: ToolRounds
    background: BackgroundTasks
    stopped_turns: StoppedTurns
    held_runs: HeldRuns
    overrides: RunOverrides
    metrics: RunMetrics
    budgets: Budgets
    deadline_seconds: float

    async def start(self, scope: RequestScope, context: RunContext, params: Json) -> Json:
        """Create a response that its client will poll, and return its current state.

        It is created as a stream and left at once where the upstream can do that: only a response that was
        created so can be followed later.
        """
        if "detach" in self.mode.streams:
            stream = await self.open(scope, context, params, on_disconnect="detach")
            await self.leave(stream, "detach")
            return stream.response or {}
        response = await self._started(scope, params)
        await self._remember(scope, context, params, response, is_listed=True)
        return response

    async def complete(self, scope: RequestScope, context: RunContext, params: Json) -> RunEnded:
        """Create a foreground response and return the end of its run. Lists of runs do not show it."""
        response = await self._whole(scope, params)
        await self._remember(scope, context, params, response, is_listed=False)
        return run_ended(response, context)

    async def open(
        self,
        scope: RequestScope,
        context: RunContext,
        params: Json,
        *,
        on_disconnect: OnDisconnect,
        before: list[DomainEvent] | None = None,
        is_listed: bool = True,
    ) -> FollowedRun:
        """Create a response and return its stream once the run exists.

        The events in `before` precede those of the run. Background runs are always listed.
        """
        opening = self._opened(scope, context, params, on_disconnect, is_listed=is_listed)
        in_background = on_disconnect in self.mode.streams
        stream = await (self.uncut(opening, on_disconnect) if in_background else opening)
        stream.put_first(before or [])
        return stream

    async def leave(self, stream: FollowedRun, on_disconnect: OnDisconnect) -> None:
        """Stop a run whose client is gone, leave it to the upstream, or read it to its end."""
        if on_disconnect == "cancel":
            await stream.cancel()
            return
        try:
            if not stream.in_background:
                # Closing it now would cancel the response.
                async for _ in stream:
                    continue
        finally:
            await stream.aclose()

    @asynccontextmanager
    async def answering(
        self, scope: RequestScope, view: RunView, outputs: Mapping[str, str]
    ) -> AsyncIterator[Mapping[str, str]]:
        """Yield the outputs by call id; none of them is a decision about a call of the service's own."""
        yield outputs

    def leave_soon(self, stream: FollowedRun, on_disconnect: OnDisconnect) -> None:
        """Call `leave` in a background task."""
        self.background.spawn(self.leave(stream, on_disconnect))

    async def _opened(
        self,
        scope: RequestScope,
        context: RunContext,
        params: Json,
        on_disconnect: OnDisconnect,
        *,
        is_listed: bool,
    ) -> RunStream:
        conversation_id = params["conversation"]
        call = partial(self._upstream_stream, params, on_disconnect)
        measurement, (upstream, in_background) = await self._measured(scope, params, call)
        stream = self._stream(context, params, upstream, measurement, in_background=in_background)
        try:
            await stream.prime()
            measurement.created()
            if stream.response is None:
                return stream
            if "moderation" in params:
                heed(scope, stream.response)
            if not in_background:
                # Only this replica can stop it: closing this stream is the upstream's only way to cancel it.
                held = HeldRun(conversation_id, partial(self._stop, context, conversation_id, stream))
                self.held_runs.add(_run_id(context, stream.response), held)
            await self._remember(
                scope, context, params, stream.response, is_listed=is_listed or in_background
            )
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def _upstream_stream(
        self, params: Json, on_disconnect: OnDisconnect
    ) -> tuple[UpstreamStream, bool]:
        """Return the stream of a new response, and whether it is a background response."""
        background = on_disconnect in self.mode.streams
        try:
            return await self.responses.open_stream(params, background=background), background
        except BackgroundRefusedError:
            if not background:
                raise
        stream = await self.responses.open_stream(params, background=False)
        # Only now it is known that the mode was the cause.
        self.mode.refuse_streams()
        return stream, False

    def _stream(
        self,
        context: RunContext,
        params: Json,
        upstream: UpstreamStream,
        measurement: RunMeasurement,
        *,
        in_background: bool,
    ) -> RunStream:
        translator = RunTranslator(context, resumed=context.first_response_id is not None)
        deadline = asyncio.get_running_loop().time() + self.deadline_seconds
        if in_background:
            expired = partial(self.note_expired, params["conversation"], context)
            return BackgroundStream(translator, upstream, measurement, deadline, self.responses, expired)
        closed = partial(self._closed, context, params, time.time())
        return ForegroundStream(translator, upstream, measurement, deadline, closed)

    def _closed(
        self, context: RunContext, params: Json, began_at: float, stream: ForegroundStream, status: str | None
    ) -> None:
        """Forget a foreground run that is over, and keep its turn if it was cut off.

        `status` is how the run ended if the upstream did not end it, else None.
        """
        run_id = _run_id(context, stream.response)
        self.held_runs.discard(run_id)
        if status is None:
            return
        stream.measurement.cut_off(stream.response, status)
        if status == "cancelled":
            self.metrics.run_cancelled()
        asked, said = _messages(params), stream.translator.said()
        turn = StoppedTurn(params["conversation"], began_at, asked, said, (run_id, status))
        self.stopped_turns.keep(turn)

    async def _stop(self, context: RunContext, conversation_id: str, stream: RunStream) -> Json | None:
        """Stop a held run, keep its turn and return the cancelled Run; None if the run has just ended."""
        if stream.is_ended or stream.response is None:
            return None
        await stream.cancel()
        await self.stopped_turns.wait(conversation_id)
        return run_object(stream.response, context, status="cancelled")

    async def _started(self, scope: RequestScope, params: Json) -> Json:
        if not self.mode.runs:
            return await self._whole(scope, params)
        call = partial(self.responses.create_in_background, params)
        with suppress(BackgroundRefusedError):
            reservation = await self._reserved(scope, params)
            try:
                response = await self._repaired(scope, params, call)
            except BaseException as exc:
                if reservation is not None:
                    reservation.failed(exc)
                raise
            if reservation is not None:
                reservation.left(response)
            return response
        response = await self._whole(scope, params)
        self.mode.refuse_runs()
        return response

    async def _whole(self, scope: RequestScope, params: Json) -> Json:
        call = partial(self.responses.create, params)
        measurement, response = await self._measured(scope, params, call)
        measurement.created()
        measurement.left(response)
        if "moderation" in params:
            heed(scope, response)
        return response

    async def _measured(
        self, scope: RequestScope, params: Json, call: Callable[[], Awaitable[T]]
    ) -> tuple[RunMeasurement, T]:
        """Make the call that creates a response; if it is cancelled, keep the question of the turn."""
        began_at = time.time()
        reservation = await self._reserved(scope, params)
        measurement = self.metrics.begin(params)
        measurement.reservation = reservation
        try:
            with measurement.inside():
                return measurement, await self._repaired(scope, params, call)
        except BaseException as exc:
            measurement.failed(exc)
            if isinstance(exc, asyncio.CancelledError):
                # The upstream may have started the turn, and drops it when the connection closes.
                turn = StoppedTurn(params["conversation"], began_at, _messages(params), [])
                self.stopped_turns.keep(turn)
            raise

    async def _reserved(self, scope: RequestScope, params: Json) -> Reservation | None:
        """Reserve what the turn may take, where it counts for a budget."""
        if self.budgets.is_on or scope.caller.budget_tokens is not None:
            return await self.budgets.reserve(scope, params)
        return None

    async def _repaired(self, scope: RequestScope, params: Json, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and repeat it after answering tool calls that an earlier turn left open."""
        try:
            return await call()
        except UpstreamMissingError:
            with not_found_as("thread"):
                raise
        except ToolOutputMissingError:
            # Without this, the thread of a client that left in the middle of a round could never go on.
            is_new_run = RunRounds.read(params).previous is None
            answered = await self.rounds.repair(
                params["conversation"], params["input"], is_new_run=is_new_run
            )
            # Whoever carried them out may just have answered them.
            if not answered and not is_new_run:
                raise
        except UpstreamRefusedError as exc:
            if "moderation" in params and (is_block(exc.code) or is_block(exc.upstream_code)):
                self.metrics.metrics.content_checked("input", "blocked")
                raise ContentBlockedError from exc
            if exc.is_plain and exc.param in {None, "input"} and not params["input"]:
                await self.rounds.check_not_empty(params["conversation"])
            raise
        if answered:
            scope.headers[UNANSWERED_HEADER] = ", ".join(answered)[:_MOST_HEADER_CHARS]
        with not_found_as("thread"):
            return await call()

    async def uncut(self, opening: Coroutine[Any, Any, R], on_disconnect: OnDisconnect) -> R:
        """Await the opening of a stream to its end even if the caller is cancelled; then `leave` it.

        A background run whose id is not known yet could not be stopped.
        """
        task = asyncio.create_task(opening)

        async def abandon() -> None:
            with suppress(ServiceError):
                await self.leave(await task, on_disconnect)

        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.background.spawn(abandon())
            raise

    async def _remember(
        self, scope: RequestScope, context: RunContext, params: Json, response: Json, *, is_listed: bool
    ) -> None:
        response_id, conversation_id = response["id"], params["conversation"]
        if isinstance(dropped := response.get("dropped_items"), int):
            scope.headers[DROPPED_HEADER] = str(dropped)
        note(thread_id=context.thread_id, run_id=context.ids.run(_run_id(context, response)))
        if (first_id := context.first_response_id) is not None:
            await self._note_round(conversation_id, first_id, response_id)
            return
        if "metadata" in params:
            await self.overrides.keep(response_id, params)
        if is_listed:
            self.metadata.note_run(conversation_id, response_id)

    async def _note_round(self, conversation_id: str, first_id: str, response_id: str) -> None:
        """Note the response of a run's new round."""
        await self.metadata.note(conversation_id, lambda history: history.set_round(first_id, response_id))

    def note_expired(self, conversation_id: str, context: RunContext, response_id: str) -> None:
        """Note in the background that a run expired; the upstream only knows that it was cancelled."""
        first_id = context.first_response_id or response_id
        noted = self.metadata.note(conversation_id, lambda history: history.set_ended(first_id, "expired"))
        self.background.spawn(noted)


def _run_id(context: RunContext, response: Json | None) -> str:
    """Return the id of a run's first response; an empty string before it exists."""
    return context.first_response_id or (str(response["id"]) if response else "")


def _messages(params: Json) -> list[Json]:
    """Return the messages in the input of a request."""
    return [item for item in params.get("input") or [] if item.get("type") == "message"]
