"""Creates runs whose calls the service carries out, as far as it has the functions."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Self

import structlog

from app.core.caller import RequestScope
from app.core.config import OnDisconnect
from app.core.errors import BadRequestError, ServiceError
from app.core.runs.create import RunCreator
from app.core.runs.follow import FollowedRun
from app.core.runs.lookup import RunView
from app.core.runs.looped_run import LoopedRun, joined
from app.core.runs.tool_loop import ToolLoop, ToolServices, once_each
from app.core.runs.tool_outputs import run_not_waiting
from app.core.telemetry import inside_agent
from app.core.upstream.errors import ConversationLockedError
from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded
from app.translate.objects import LIVE, run_object
from app.translate.own_calls import DENIED, is_approved
from app.translate.run_metadata import APPROVED
from app.translate.run_translator import run_ended

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 0.5


@dataclass(eq=False)
class ToolRunCreator(RunCreator):
    """A `RunCreator` whose runs go on by themselves; `tools` is what that needs."""

    tools: ToolServices

    @classmethod
    def of(cls, creator: RunCreator, tools: ToolServices) -> Self:
        """Return a creator that works as another one does, and carries out calls."""
        return cls(**{each.name: getattr(creator, each.name) for each in fields(creator)}, tools=tools)

    async def start(self, scope: RequestScope, context: RunContext, params: Json) -> Json:
        """Create a response that its client will poll; this process carries out its calls."""
        if "detach" in self.mode.streams:
            stream = await self.open(scope, context, params, on_disconnect="detach")
            self.background.spawn(self.leave(stream, "finish"))
            response = stream.response or {}
            # It may have asked for a tool already, which is not the client's to answer.
            return response | {"status": "in_progress"} if context.own_tools.approvals else response
        loop, start = self._begun(scope, context, params), super().start
        async with _closed_on_failure(loop):
            response = await start(scope, context, params)
            await loop.hold()
        if response.get("status") in LIVE:
            self.background.spawn(self._finish_polled(loop, response))
            return response
        return (await self._finished(loop, response))[-1]

    async def complete(self, scope: RequestScope, context: RunContext, params: Json) -> RunEnded:
        """Create a foreground response, carry out its calls, and return the end of the run."""
        loop = self._begun(scope, context, params)
        async with _closed_on_failure(loop):
            response = await self._round(loop)
            await loop.hold()
        responses = await self._finished(loop, response)
        ends = [run_ended(response, loop.context) for response in responses]
        ended = joined(ends[:-1], ends[-1])
        if loop.ended_as is not None:
            ended.run = run_object(responses[-1], loop.context, status=loop.ended_as)
        return ended

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
        """Create a response, and return a stream that goes on until the model answers."""
        loop, first = self._begun(scope, context, params), super().open
        async with _closed_on_failure(loop):
            stream = await first(
                scope, context, params, on_disconnect=on_disconnect, before=before, is_listed=is_listed
            )
            await loop.hold()

        async def next_round() -> FollowedRun:
            with inside_agent(loop.agent):
                return await first(
                    scope, loop.context, loop.params, on_disconnect=on_disconnect, is_listed=False
                )

        return LoopedRun(stream, loop, next_round)

    @asynccontextmanager
    async def answering(
        self, scope: RequestScope, view: RunView, outputs: Mapping[str, str]
    ) -> AsyncIterator[Mapping[str, str]]:
        """Carry out the calls that these outputs approve, and yield all outputs by call id.

        Raises `BadRequestError` for an output that is no decision, and where the run waits no more.
        """
        own = view.context.own_tools
        asked = [item for item in view.response.get("output") or [] if own.has(item) and own.asks(item)]
        decided = {str(item.get("call_id")): _decision(item, outputs) for item in once_each(asked)}
        approved = [item for item in once_each(asked) if decided[str(item.get("call_id"))]]
        found = {**outputs, **dict.fromkeys(decided, DENIED)}
        if not approved:
            yield found
            return
        async with self.tools.leases.holding_alone(view.conversation_id):
            await self._claim(view)
            loop = self._loop(scope, view.context, {"conversation": view.conversation_id})
            results = await loop.carried_out(view.response, approved)
            if results is None:
                raise run_not_waiting(loop.ended_as or "cancelled")
            yield found | {result.call_id: result.output for result in results}

    async def _claim(self, view: RunView) -> None:
        """Note for good that the approved calls of a run are made, so that nobody makes them again.

        Raises `BadRequestError` if somebody has noted it before.
        """
        _, history = await self.metadata.read(view.conversation_id)
        is_next = history.current_of(view.first_id) != view.response["id"]
        if is_next or history.ended_as(view.first_id) is not None:
            raise run_not_waiting("in_progress")
        await self.metadata.note(
            view.conversation_id, lambda history: history.set_ended(view.first_id, APPROVED)
        )
        _, history = await self.metadata.read(view.conversation_id)
        if history.ended_as(view.first_id) != APPROVED:
            # Without the note, the calls could be made twice.
            raise ConversationLockedError("The approval could not be noted. Retry shortly.")

    async def _note_round(self, conversation_id: str, first_id: str, response_id: str) -> None:
        """Note a new round; within the loop nobody needs it before the lease is given back."""
        if self.tools.leases.holds(conversation_id):
            self.metadata.note_soon(conversation_id, lambda history: history.set_round(first_id, response_id))
        else:
            await super()._note_round(conversation_id, first_id, response_id)

    def _loop(self, scope: RequestScope, context: RunContext, params: Json) -> ToolLoop:
        ends_at = asyncio.get_running_loop().time() + self.deadline_seconds
        return ToolLoop(self.tools, scope, context, params, ends_at)

    def _begun(self, scope: RequestScope, context: RunContext, params: Json) -> ToolLoop:
        """Return the loop of a run that is being created, with the run's span."""
        loop = self._loop(scope, context, params)
        loop.agent = self.metrics.agent(params)
        return loop

    async def _round(self, loop: ToolLoop) -> Json:
        """Create the foreground response of a loop's next round, and return it."""
        with inside_agent(loop.agent):
            response = await self._whole(loop.scope, loop.params)
        await self._remember(loop.scope, loop.context, loop.params, response, is_listed=False)
        return response

    async def _finished(self, loop: ToolLoop, response: Json) -> list[Json]:
        """Carry out a run's calls, round after round, and return its responses; the last one is its end."""
        responses = [response]
        try:
            while (await loop.step(responses[-1]))[0] == "round":
                responses.append(await self._round(loop))
        except asyncio.CancelledError:
            self.background.spawn(self._abandon(loop, responses[-1]))
            raise
        except BaseException:
            await loop.aclose()
            raise
        await loop.aclose()
        return responses

    @staticmethod
    async def _abandon(loop: ToolLoop, response: Json) -> None:
        """Close the calls of a run whose client has left, before another turn can begin."""
        try:
            await loop.give_up(response, "cancelled")
        finally:
            await loop.aclose()

    async def _finish_polled(self, loop: ToolLoop, response: Json) -> None:
        """Poll a response that its upstream works on, then carry out its calls."""
        try:
            async with asyncio.timeout_at(loop.ends_at):
                while response.get("status") in LIVE:
                    await asyncio.sleep(_POLL_SECONDS)
                    response = await self.responses.get(response["id"])
            await self._finished(loop, response)
        except (ServiceError, TimeoutError) as exc:
            _log.warning("run_not_finished", code=getattr(exc, "code", "timeout"))


@asynccontextmanager
async def _closed_on_failure(loop: ToolLoop) -> AsyncIterator[None]:
    """Begin a loop's run in the block, as part of its span; if that fails, close the loop."""
    try:
        with inside_agent(loop.agent):
            yield
    except BaseException:
        await loop.aclose()
        raise


def _decision(item: Json, outputs: Mapping[str, str]) -> bool:
    """Return whether a call is approved; raises `BadRequestError`."""
    decision = is_approved(outputs[str(item.get("call_id"))])
    if decision is None:
        raise BadRequestError(
            f"The service runs {item.get('name')} itself: its output is 'approve' or 'deny'.",
            param="tool_outputs",
            code="invalid_approval",
        )
    return decision
