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
from app.core.runs.tool_loop import ToolLoop, ToolServices
from app.core.telemetry import inside_agent
from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, RunEnded
from app.translate.objects import LIVE, run_object
from app.translate.own_calls import DENIED, is_approved
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

    async def carried_out(
        self, scope: RequestScope, view: RunView, outputs: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Carry out the calls that these outputs approve, and return all outputs by call id.

        Raises `BadRequestError` for an output that is no decision.
        """
        own = view.context.own_tools
        asked = [item for item in view.response.get("output") or [] if own.has(item) and own.asks(item)]
        decided = {str(item.get("call_id")): _decision(item, outputs) for item in asked}
        found = {**outputs, **dict.fromkeys(decided, DENIED)}
        if approved := [item for item in asked if decided[str(item.get("call_id"))]]:
            loop = self._loop(scope, view.context, {"conversation": view.conversation_id})
            async with self.tools.leases.holding(view.conversation_id):
                results = await loop.results(view.response, approved)
            found |= {result.call_id: result.output for result in results}
        return found

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
            self.background.spawn(loop.give_up(responses[-1], "cancelled"))
            raise
        finally:
            await loop.aclose()
        return responses

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
