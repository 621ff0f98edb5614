"""Finds out the state of a run from its id and the upstream alone."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from app.core.caller import RequestScope
from app.core.errors import not_found
from app.core.runs.message_runs import MessageRuns, rounds_until
from app.core.runs.params import SEARCH_RESULTS, RunParams
from app.core.runs.tool_leases import ToolLeases
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamError, UpstreamMissingError, UpstreamRefusedError, not_found_as
from app.core.upstream.responses import Responses
from app.translate.client_calls import answered_call, ended_by, waits_for_answer
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.objects import LIVE, conversation_of, pending_calls, run_object, run_status
from app.translate.pictures import CODE_OUTPUTS
from app.translate.run_metadata import APPROVED, RunHistory, RunRounds
from app.translate.steps import run_steps

_OUTPUT_SCAN_ITEMS = 500
_LEFT_OUT = {
    "code_interpreter_call": {"outputs": CODE_OUTPUTS},
    "file_search_call": {"results": SEARCH_RESULTS},
}


@dataclass(frozen=True, slots=True)
class RunView:
    """The state of a run: the response of its current round, and the status that follows from all sources."""

    conversation_id: str
    first_id: str
    response: Json
    status: str
    context: RunContext

    @property
    def is_live(self) -> bool:
        """Whether the model still works on the run."""
        return self.status in LIVE

    def run(self) -> Json:
        """Return the public Run object."""
        return run_object(self.response, self.context, status=self.status)


@dataclass(eq=False)
class RunLookup:
    """Reads runs and their steps."""

    conversations: Conversations
    responses: Responses
    metadata: ConversationMetadata
    params: RunParams
    message_runs: MessageRuns
    tool_leases: ToolLeases

    async def view(self, scope: RequestScope, thread_id: str, run_id: str) -> RunView:
        """Look up a run; raises 404 if it is unknown, foreign, gone, or of another thread."""
        conversation_id, first_id = scope.conversation(thread_id, of="run"), scope.response(run_id)
        with not_found_as("run"):
            response = await self.responses.get(first_id)
            # Not every upstream repeats the conversation in its responses.
            if conversation_of(response) not in {None, conversation_id}:
                raise not_found("run")
            return await self._view(scope, thread_id, conversation_id, response, None)

    async def views(self, scope: RequestScope, thread_id: str) -> list[RunView]:
        """Look up the runs in a thread's history, newest first, without those that are gone upstream."""
        conversation_id = scope.conversation(thread_id)
        with not_found_as("thread"):
            _, history = await self.metadata.read(conversation_id)

        async def look(first_id: str) -> RunView | None:
            try:
                response = await self.responses.get(first_id)
                return await self._view(scope, thread_id, conversation_id, response, history)
            except UpstreamMissingError:
                return None

        found = await asyncio.gather(*map(look, history.run_ids))
        return [view for view in found if view]

    async def steps(self, scope: RequestScope, view: RunView) -> list[Json]:
        """Return the steps of all rounds, oldest first."""
        responses = await self._rounds(view)
        details = (self._detailed(response, shows_results=scope.shows_results) for response in responses)
        responses = await asyncio.gather(*details)
        outputs = await self._outputs(view.conversation_id, responses)
        run = view.run()
        # Earlier rounds ended with their tool outputs; the usage of the run goes to its last step.
        earlier = run | {"status": "completed", "usage": None}
        steps = []
        for response in responses:
            is_last = response is responses[-1]
            steps += run_steps(response, run if is_last else earlier, view.context, outputs)
        return steps

    async def round_number(self, view: RunView) -> int:
        """Return how many rounds of a run came before its current one."""
        return len(await self._rounds(view)) - 1

    async def _rounds(self, view: RunView) -> list[Json]:
        """Return the responses of a run, oldest first."""
        last_id = view.response["id"]

        async def read(response_id: str) -> Json:
            return view.response if response_id == last_id else await self.responses.get(response_id)

        with not_found_as("run"):
            rounds = await rounds_until(last_id, read, lambda response: RunRounds.read(response).previous)
        return list(rounds.values())[::-1]

    async def _detailed(self, response: Json, *, shows_results: bool) -> Json:
        """Return a response, read again if its tool calls lack what upstreams leave out unless asked."""
        include = {
            name
            for item in response.get("output") or []
            for key, name in _LEFT_OUT.get(str(item.get("type")), {}).items()
            if item.get(key) is None and (shows_results or name == CODE_OUTPUTS)
        }
        if include:
            with suppress(UpstreamRefusedError, UpstreamMissingError):
                return await self.responses.get(response["id"], sorted(include))
        return response

    async def _view(
        self,
        scope: RequestScope,
        thread_id: str,
        conversation_id: str,
        response: Json,
        history: RunHistory | None,
    ) -> RunView:
        self.message_runs.saw(response)
        first_id = response["id"]
        context = self.params.context(scope, thread_id, first_id)
        status, ended = run_status(response), None
        if status in {"requires_action", "cancelled"} or _was_in_foreground(response, status):
            if history is None:
                # Read only where the response may not tell the whole truth: it costs an upstream call.
                with not_found_as("thread"):
                    _, history = await self.metadata.read(conversation_id)
            ended = history.ended_as(first_id)
            if (current_id := history.current_of(first_id)) != first_id:
                response = await self.responses.get(current_id)
                self.message_runs.saw(response)
                status = run_status(response)
        if status == "requires_action" and ended in {None, APPROVED}:
            is_approved = ended == APPROVED
            ended = await self._closed_as(conversation_id, response)
            ended = ended or await self._carried_out_as(context, conversation_id, response, is_approved)
        status = ended or await self._in_time(context, conversation_id, response, status)
        return RunView(conversation_id, first_id, response, status, context)

    async def _in_time(self, context: RunContext, conversation_id: str, response: Json, status: str) -> str:
        """Return the status, or `expired` for a run past its deadline, which is cancelled upstream."""
        if status not in LIVE and status != "requires_action":
            return status
        expires_at = run_object(response, context, status=status)["expires_at"]
        if expires_at is None or time.time() < expires_at:
            return status
        if status in LIVE:
            with suppress(UpstreamError):
                await self.responses.cancel(response["id"])
            first_id = context.first_response_id or response["id"]
            await self.metadata.note(conversation_id, lambda history: history.set_ended(first_id, "expired"))
        return "expired"

    async def _closed_as(self, conversation_id: str, response: Json) -> str | None:
        """Return the end of a run whose calls were closed in the client's place, or None."""
        wanted = {call["id"] for call in pending_calls(response)}
        return ended_by((await self._answers(conversation_id, wanted)).values())

    async def _carried_out_as(
        self, context: RunContext, conversation_id: str, response: Json, is_approved: bool
    ) -> str | None:
        """Return the status of a run with calls of the service's own functions; None if it has none."""
        own = {str(item.get("call_id")) for item in _own_calls(context, response)}
        if is_approved:
            return "in_progress" if await self.tool_leases.is_held(conversation_id) else "expired"
        if not own:
            return None
        if await self.tool_leases.is_held(conversation_id):
            return "in_progress"
        is_answered = own <= (await self._answers(conversation_id, own)).keys()
        # Whoever carried them out has ended without them: nobody will go on with this run.
        return None if is_answered and pending_calls(response, context.own_tools) else "expired"

    async def own_outputs(self, view: RunView) -> dict[str, str]:
        """Return the outputs of the calls of a waiting run that the service has carried out, by call id."""
        own = {str(item.get("call_id")) for item in _own_calls(view.context, view.response)}
        return await self._answers(view.conversation_id, own)

    async def _outputs(self, conversation_id: str, responses: list[Json]) -> dict[str, str]:
        """Return the submitted outputs of the client's calls, by call id."""
        wanted = {call["id"] for response in responses for call in pending_calls(response)}
        return await self._answers(conversation_id, wanted)

    async def _answers(self, conversation_id: str, call_ids: set[str]) -> dict[str, str]:
        """Return the answers to calls as texts, by call id."""
        answers: dict[str, str] = {}
        left = set(call_ids)
        if not left:
            return answers
        async for item in self.conversations.items(conversation_id, most=_OUTPUT_SCAN_ITEMS):
            if (answer := answered_call(item)) and answer[0] in left:
                answers[answer[0]] = answer[1]
                left.discard(answer[0])
            else:
                # An answer always comes after its call.
                left.discard(waits_for_answer(item) or "")
            if not left:
                break
        return answers


def _own_calls(context: RunContext, response: Json) -> list[Json]:
    """Return the calls that the service carries out without asking."""
    own = context.own_tools
    return [item for item in response.get("output") or [] if own.has(item) and own.runs(item)]


def _was_in_foreground(response: Json, status: str) -> bool:
    """Return whether a live response was in the foreground: then only our history knows that it stopped."""
    return status in LIVE and response.get("background") is not True
