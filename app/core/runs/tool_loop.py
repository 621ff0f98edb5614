"""The rounds of a run whose function calls the service carries out itself, until the model answers."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog
from opentelemetry.trace import Span

from app.core.caller import RequestScope
from app.core.errors import ServiceError
from app.core.runs.held_runs import HeldRun, HeldRuns
from app.core.runs.tool_leases import ToolLeases
from app.core.runs.tool_outputs import ToolRounds
from app.core.telemetry import inside_agent, mark_failed
from app.core.tools.port import ToolCall, ToolResult
from app.core.tools.toolbox import UNKNOWN, Toolbox
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.tools import Caller
from app.translate.client_calls import CANCELLED, NOT_ANSWERED, closing_item, waits_for_answer
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.objects import pending_calls, run_object
from app.translate.own_calls import TOO_MANY
from app.translate.run_metadata import RunRounds, public_metadata

_log = structlog.get_logger(__name__)

NextStep = Literal["end", "wait", "round"]
"""After a round: the run has ended, or waits for its client, or goes on with another round."""

End = Literal["cancelled", "expired", "failed"]


@dataclass(frozen=True, slots=True)
class ToolServices:
    """What all loops share.

    Args:
        toolbox: the functions.
        rounds: takes the outputs of calls beside which others wait for the client, and closes calls.
        metadata: takes the ends that the upstream does not know.
        leases: tells others that a run's calls are being carried out.
        held_runs: lets others stop them.
        max_rounds: after so many rounds of calls, the model is told to answer.
        max_parallel: most calls of a run at a time.

    """

    toolbox: Toolbox
    rounds: ToolRounds
    metadata: ConversationMetadata
    leases: ToolLeases
    held_runs: HeldRuns
    max_rounds: int
    max_parallel: int


@dataclass(eq=False)
class ToolLoop:
    """The loop of one run. Close it however the run ends.

    Args:
        services: what all loops share.
        scope: the request that started the run.
        context: how the caller sees the run; it changes with the rounds.
        params: what the next round sends.
        ends_at: when the run expires, on the loop's clock.
        agent: the span of the run, if it is traced.

    """

    services: ToolServices
    scope: RequestScope
    context: RunContext
    params: Json
    ends_at: float
    agent: Span | None = None
    ended_as: End | None = field(default=None, init=False)
    """How the run ended, if not as its last response says."""

    _rounds: int = field(default=0, init=False)
    _work: "asyncio.Task[list[ToolResult]] | None" = field(default=None, init=False)
    _lease: AsyncExitStack | None = field(default=None, init=False)

    @property
    def conversation_id(self) -> str:
        """The upstream conversation of the run's thread."""
        return str(self.params["conversation"])

    def calls(self, response: Json) -> list[Json]:
        """Return the calls of a response that are carried out here."""
        own = self.context.own_tools
        if response.get("status") != "completed":
            return []
        calls = [item for item in response.get("output") or [] if own.has(item) and own.runs(item)]
        return once_each(calls)

    async def step(self, response: Json) -> tuple[NextStep, dict[str, ToolResult]]:
        """Carry out the calls of a response and prepare the next round; return the results by call id."""
        calls = self.calls(response)
        if not calls:
            return "end", {}
        if self._rounds >= self.services.max_rounds:
            # It was told to answer, and did not.
            await self.give_up(response, "failed")
            return "end", {}
        self._rounds += 1
        results = await self.carried_out(response, calls)
        if results is None:
            return "end", {}
        items = [closing_item(item, result.output) for item, result in zip(calls, results, strict=True)]
        found = {result.call_id: result for result in results}
        if pending_calls(response, self.context.own_tools):
            await self.services.rounds.conversations.add_items(self.conversation_id, items)
            return "wait", found
        self._prepare(response, items)
        return "round", found

    async def stop(self) -> None:
        """Cancel the calls that are being carried out, and with them the run."""
        if self._work is not None and self.ended_as is None:
            self.ended_as = "cancelled"
            self._work.cancel()
            await asyncio.wait([self._work])

    async def carried_out(self, response: Json, calls: list[Json]) -> list[ToolResult] | None:
        """Carry out calls by the run's deadline; None if that ended the run."""
        self._work = asyncio.create_task(self._results(response, calls))

        async def stop() -> Json | None:
            await self.stop()
            return run_object(response, self.context, status="cancelled")

        with self.services.held_runs.holding(self.first_id(response), HeldRun(self.conversation_id, stop)):
            try:
                async with asyncio.timeout_at(self.ends_at):
                    return await self._work
            except TimeoutError:
                await self.give_up(response, "expired")
            except asyncio.CancelledError:
                if self.ended_as != "cancelled":
                    raise
                await self.give_up(response, "cancelled")
        return None

    def first_id(self, response: Json) -> str:
        """Return the id of the response that began the run."""
        return self.context.first_response_id or str(response["id"])

    async def _results(self, response: Json, calls: Sequence[Json]) -> list[ToolResult]:
        """Carry out calls side by side, and return their results in order."""
        caller, run_id = self.scope.caller, self.context.ids.run(self.first_id(response))
        told = Caller(caller.user, self.context.thread_id, run_id, caller.claims)
        offered = {tool.get("name") for tool in self.params.get("tools") or response.get("tools") or []}
        places = asyncio.Semaphore(self.services.max_parallel)

        async def carried_out(item: Json) -> ToolResult:
            call_id, name = str(item.get("call_id")), str(item.get("name"))
            if name not in offered:
                return ToolResult(call_id, UNKNOWN, "unknown", 0.0)
            async with places:
                call = ToolCall(call_id, name, str(item.get("arguments") or "{}"), told)
                return await self.services.toolbox.execute(call)

        with inside_agent(self.agent):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(carried_out(item)) for item in calls]
        return [task.result() for task in tasks]

    async def give_up(self, response: Json, end: End) -> None:
        """Close the open calls of a run that does not go on from this response, and note how it ended."""
        self.ended_as = end
        sentence = {"cancelled": CANCELLED, "expired": NOT_ANSWERED, "failed": TOO_MANY}[end]
        first = self.first_id(response)
        try:
            await self.services.rounds.close(self.conversation_id, sentence)
            await self.services.metadata.note(
                self.conversation_id, lambda history: history.set_ended(first, end)
            )
        except ServiceError as exc:
            _log.warning("calls_not_closed", code=exc.code)

    async def aclose(self) -> None:
        """Let others answer the run's calls, and end its span."""
        if self.agent is not None:
            if self.ended_as in {"failed", "expired"}:
                mark_failed(self.agent, self.ended_as)
            self.agent.end()
            self.agent = None
        if self._lease is not None:
            # Without the lease, others go by what the history says of the run.
            await self.services.metadata.settle(self.conversation_id)
            await self._lease.aclose()

    async def hold(self) -> None:
        """Tell others that the run's calls are carried out here, before they can ask; until `aclose`."""
        if self._lease is None:
            self._lease = AsyncExitStack()
            await self._lease.enter_async_context(self.services.leases.holding(self.conversation_id))

    def _prepare(self, response: Json, items: list[Json]) -> None:
        """Set what the next round sends; it belongs to the same run."""
        self.context = replace(self.context, first_response_id=self.first_id(response))
        metadata = public_metadata(response.get("metadata")) | RunRounds.follow(response)
        self.params = self.params | {"input": items, "metadata": metadata}
        if self.params.get("tool_choice") is not None:
            # Else a call that the first round was forced to make would be made in every round.
            self.params["tool_choice"] = "auto"
        if self._rounds >= self.services.max_rounds:
            self.params["tool_choice"] = "none"


def once_each(calls: list[Json]) -> list[Json]:
    """Return the calls whose arguments are whole, without those that repeat another one's id."""
    whole = [item for item in calls if item.get("status") != "incomplete"]
    return list({waits_for_answer(item): item for item in reversed(whole)}.values())[::-1]
