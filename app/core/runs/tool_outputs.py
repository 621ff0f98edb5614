"""Answers tool calls that wait for the client, also for runs that were cancelled or abandoned."""

import re
from dataclasses import dataclass

from app.core.errors import BadRequestError
from app.core.runs.lookup import RunView
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import not_found_as
from app.models.runs import ToolOutput
from app.translate.events import DomainEvent, Json, StepEnded
from app.translate.input_items import output_item
from app.translate.objects import pending_calls
from app.translate.steps import run_steps

NOT_ANSWERED = "The tool call was not answered: its caller went away."
CANCELLED = "The tool call was not answered: the run was cancelled."
_SCAN_ITEMS = 200
_CALL_ID = re.compile(r"[A-Za-z0-9_.-]{1,80}\Z")


@dataclass(eq=False)
class ToolRounds:
    """Keeps the function calls of conversations answered: upstream, an open call fails every later turn."""

    conversations: Conversations
    metadata: ConversationMetadata

    async def give_up(self, view: RunView) -> None:
        """Answer the calls of a waiting run that is cancelled, and note its end."""
        items = [output_item(call["id"], CANCELLED) for call in pending_calls(view.response)]
        await self.conversations.add_items(view.conversation_id, items)
        await self.metadata.note(
            view.conversation_id, lambda history: history.set_ended(view.first_id, "cancelled")
        )

    async def repair(self, conversation_id: str) -> list[str]:
        """Answer every open call of a conversation with a fixed sentence; return the ids of those calls."""
        open_calls = await self._open_calls(conversation_id)
        if not open_calls:
            return []
        items = [output_item(call_id, NOT_ANSWERED) for call_id in open_calls]
        await self.conversations.add_items(conversation_id, items)
        # The ids go into a response header, so nothing else may be in them.
        return [call_id for call_id in open_calls if _CALL_ID.match(call_id)]

    async def check_not_empty(self, conversation_id: str) -> None:
        """Raise 400 if a conversation holds nothing that a run could answer, 404 if there is none."""
        with not_found_as("thread"):
            items = [item async for item in self.conversations.items(conversation_id, most=1)]
        if not items:
            raise BadRequestError(
                "The thread has no messages. Add one first, or send additional_messages.",
                param="thread_id",
                code="thread_is_empty",
            )

    async def _open_calls(self, conversation_id: str) -> dict[str, str]:
        """Return item ids by call id, of the function calls without an output among the newest items."""
        answered: set[str] = set()
        found: dict[str, str] = {}
        async for item in self.conversations.items(conversation_id, most=_SCAN_ITEMS):
            call_id = str(item.get("call_id"))
            if item.get("type") == "function_call_output":
                answered.add(call_id)
            elif item.get("type") == "function_call" and call_id not in answered:
                found[call_id] = str(item.get("id"))
        return found


def output_items(view: RunView, outputs: list[ToolOutput]) -> list[Json]:
    """Return input items for submitted outputs; raises 400 unless they are what the run needs."""
    if view.status != "requires_action":
        raise BadRequestError(
            f"The run is {view.status} and waits for no tool outputs.", param="run_id", code="run_not_waiting"
        )
    waiting = [call["id"] for call in pending_calls(view.response)]
    given = [output.tool_call_id for output in outputs]
    _refuse([each for each in given if each not in waiting], "are not waited for", "unknown_tool_call")
    _refuse([each for each in waiting if each not in given], "have no output yet", "missing_tool_output")
    if len(set(given)) != len(given):
        raise BadRequestError("A tool call has two outputs. Send one each.", param="tool_outputs")
    return [output_item(output.tool_call_id, output.output) for output in outputs]


def answered_step(view: RunView, outputs: list[ToolOutput]) -> list[DomainEvent]:
    """Return the `StepEnded` of the step that waited, with the outputs of its calls."""
    by_id = {output.tool_call_id: output.output for output in outputs}
    run = view.run() | {"status": "in_progress", "usage": None}
    steps = run_steps(view.response, run, view.context, by_id)
    waited = [
        step
        for step in steps
        if any(call["id"] in by_id for call in step["step_details"].get("tool_calls") or [])
    ]
    return [StepEnded(step) for step in waited]


def _refuse(call_ids: list[str], why: str, code: str) -> None:
    if call_ids:
        named = ", ".join(repr(call_id[:80]) for call_id in call_ids[:10])
        raise BadRequestError(f"These tool calls {why}: {named}.", param="tool_outputs", code=code)
