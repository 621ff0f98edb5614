"""Starting work upstream: the one way in which runs and chats create responses."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from app.core.background import BackgroundTasks
from app.core.caller import RequestScope
from app.core.interruption import Unbroken
from app.core.logging import note
from app.core.observability.run_metrics import RunMetrics
from app.core.runs.follow import RunStream
from app.core.runs.tool_outputs import ToolRounds
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.errors import ToolOutputMissingError, UpstreamError, not_found_as
from app.core.upstream.responses import Responses
from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json
from app.translate.run_metadata import RunHistory
from app.translate.run_translator import RunTranslator

T = TypeVar("T")
UNANSWERED_HEADER = "x-unanswered-tool-calls"


class RunStarter:
    """Creates responses, as a JSON object or as a stream, and sees to it that nothing is left half done."""

    def __init__(
        self,
        responses: Responses,
        run_log: ConversationMetadata,
        rounds: ToolRounds,
        background: BackgroundTasks,
        meters: RunMetrics,
        *,
        deadline_seconds: float,
    ) -> None:
        self._responses = responses
        self._run_log = run_log
        self._rounds = rounds
        self._background = background
        self._meters = meters
        self._deadline_seconds = deadline_seconds

    async def start(self, scope: RequestScope, context: RunContext, params: Json) -> Json:
        """Create a response and return it, whatever becomes of the client meanwhile.

        Where the upstream can, it is created streaming and left at once, so that it can be followed later.
        """
        if self._responses.streams_in_background:
            stream = await self.open(scope, context, params)
            try:
                return await stream.settled()
            finally:
                await stream.aclose()
        conversation_id = params["conversation"]

        async def begin() -> Json:
            response = await self._repaired(scope, conversation_id, lambda: self._responses.start(params))
            await self._remember(context, conversation_id, response)
            return response

        with not_found_as("thread"):
            return await self._unbroken(begin(), _forget)

    async def open(
        self,
        scope: RequestScope,
        context: RunContext,
        params: Json,
        *,
        before: list[DomainEvent] | None = None,
        log_delay_seconds: float = 0,
        is_first: bool = False,
        cancels: bool = False,
    ) -> RunStream:
        """Create a response and return its stream, read until the run exists.

        `before` are events that go ahead of the run's. With `cancels`, a client that leaves while the
        upstream has not answered yet stops the run as soon as it has. `is_first` says that the conversation
        was made for this run, without metadata.
        """
        conversation_id = params["conversation"]

        async def begin() -> RunStream:
            opening = self._repaired(scope, conversation_id, lambda: self._responses.open_stream(params))
            meter, (upstream, in_background) = await self._meters.begin(params, opening)
            translator = RunTranslator(context, resumed=context.first_response_id is not None)
            stream = RunStream(
                self._responses,
                translator,
                upstream,
                meter=meter,
                in_background=in_background,
                deadline=asyncio.get_running_loop().time() + self._deadline_seconds,
                on_expired=lambda response_id: self.note_expired(conversation_id, context, response_id),
            )
            try:
                await stream.prime(before or [])
                if translator.response:
                    await self._remember(
                        context, conversation_id, translator.response, log_delay_seconds, is_first=is_first
                    )
            except BaseException:
                await stream.aclose()
                raise
            return stream

        with not_found_as("thread"):
            return await self._unbroken(begin(), self.cancel_and_close if cancels else self.leave_and_close)

    async def cancel_and_close(self, stream: RunStream) -> None:
        """Stop the run of a client that is gone; its connection first, where many leave at once."""
        try:
            await stream.aclose()
        finally:
            await stream.cancel()

    async def leave_and_close(self, stream: RunStream) -> None:
        """Let the run of a client that is gone come to its end."""
        try:
            await stream.leave()
        finally:
            await stream.aclose()

    async def _unbroken(self, work: Awaitable[T], abandon: Callable[[T], Coroutine[Any, Any, None]]) -> T:
        """Await work that must not be cut in the middle; of a client that leaves, finish and abandon it."""
        with Unbroken() as block:
            try:
                result = await work
            except UpstreamError:
                if block.is_interrupted:
                    raise asyncio.CancelledError from None
                raise
        if block.is_interrupted:
            self._background.spawn(abandon(result))
            raise asyncio.CancelledError
        return result

    async def _repaired(
        self, scope: RequestScope, conversation_id: str, call: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            return await call()
        except ToolOutputMissingError:
            answered = await self._rounds.repair(conversation_id)
            if not answered:
                raise
        scope.headers[UNANSWERED_HEADER] = ", ".join(answered)
        return await call()

    async def _remember(
        self,
        context: RunContext,
        conversation_id: str,
        response: Json,
        delay_seconds: float = 0,
        *,
        is_first: bool = False,
    ) -> None:
        response_id = response["id"]
        note(thread_id=context.thread_id, run_id=context.ids.run(context.first_response_id or response_id))
        if (first_id := context.first_response_id) is not None:
            await self._run_log.note(
                conversation_id, lambda history: history.set_round(first_id, response_id)
            )
            return
        created_at = int(response.get("created_at") or time.time())
        if is_first:
            self._run_log.note_first_run(conversation_id, response_id, created_at)
        else:
            self._run_log.note_run(conversation_id, response_id, created_at, delay_seconds=delay_seconds)

    def note_expired(self, conversation_id: str, context: RunContext, response_id: str) -> None:
        """Remember soon that a run expired: upstream it is only cancelled."""
        first_id = context.first_response_id or response_id

        def change(history: RunHistory) -> None:
            history.set_ended(first_id, "expired")

        self._background.spawn(self._run_log.note(conversation_id, change))


async def _forget(_response: Json) -> None:
    """Leave a run that was started to itself: its id can be found in the thread's list."""
