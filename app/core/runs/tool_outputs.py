"""Answers tool calls that wait for the client, also for runs that were cancelled or abandoned."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import BadRequestError, thread_is_empty
from app.core.runs.lookup import RunView
from app.core.runs.tool_leases import ToolLeases
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import not_found_as
from app.models.runs import ToolOutput
from app.translate.client_calls import (
    CANCELLED,
    NOT_ANSWERED,
    BadAnswerError,
    answer_item,
    answered_call,
    client_call,
    closing_item,
    waits_for_answer,
)
from app.translate.context import RunContext
from app.translate.events import DomainEvent, Json, StepEnded
from app.translate.objects import pending_calls
from app.translate.own_calls import OwnTools
from app.translate.steps import run_steps

_SCAN_ITEMS = 200
_CALL_ID = re.compile(r"[A-Za-z0-9_.-]{1,80}\Z")


@dataclass(eq=False)
class ToolRounds:
    """Keeps the calls of conversations answered: upstream, an open call fails every later turn.

    The sentence in an answer tells how a run ended whose calls were closed here.
    """

    conversations: Conversations
    tool_leases: ToolLeases

    async def give_up(self, view: RunView) -> None:
        """Close the calls of a waiting run that is cancelled."""
        items = [closing_item(item, CANCELLED) for item in _waiting(view).values()]
        await self.conversations.add_items(view.conversation_id, items)

    async def close(self, conversation_id: str, sentence: str) -> None:
        """Close all open calls of a conversation with a sentence."""
        open_calls = await self._open_calls(conversation_id)
        items = [closing_item(item, sentence) for item in open_calls.values()]
        await self.conversations.add_items(conversation_id, items)

    async def repair(self, conversation_id: str, sent: list[Json], *, is_new_run: bool) -> list[str]:
        """Close the open calls of a conversation, of whatever kind, that the input items `sent` leave open.

        Return the ids of those calls. Raises `ConversationLockedError` while a run before a new one carries
        them out; a run that goes on would wait for itself.
        """
        if is_new_run:
            await self.tool_leases.wait(conversation_id)
        open_calls = await self._open_calls(conversation_id)
        for answer in filter(None, map(answered_call, sent)):
            open_calls.pop(answer[0], None)
        if not open_calls:
            return []
        items = [closing_item(item, NOT_ANSWERED) for item in open_calls.values()]
        await self.conversations.add_items(conversation_id, items)
        # The ids go into a response header, so nothing else may be in them.
        return [call_id for call_id in open_calls if _CALL_ID.match(call_id)]

    async def check_not_empty(self, conversation_id: str) -> None:
        """Raise 400 if a conversation holds nothing that a run could answer, 404 if there is none."""
        with not_found_as("thread"):
            items = [item async for item in self.conversations.items(conversation_id, most=1)]
        if not items:
            raise thread_is_empty("Add one first, or send additional_messages.", param="thread_id")

    async def typed_answers(self, conversation_id: str, items: list[Json], own: OwnTools) -> list[Json]:
        """Return input items with each function output in the form that its call needs upstream.

        A frontend's history has functions only, and not the kinds of their calls. Raises `BadRequestError`
        for the output of a function of the service's `own`: a history names no run whose call to approve.
        """
        answered = [item.get("call_id") for item in items if item.get("type") == "function_call_output"]
        if not answered:
            return items
        calls = await self._open_calls(conversation_id)
        for call in filter(None, map(calls.get, map(str, answered))):
            if own.has(call):
                raise BadRequestError(
                    f"The service runs {call.get('name')} itself: approve or deny its call with 'run_id' "
                    "and 'tool_outputs'.",
                    param="messages",
                    code="invalid_approval",
                )
        return [_typed_answer(calls.get(str(item.get("call_id"))), item) for item in items]

    async def _open_calls(self, conversation_id: str) -> dict[str, Json]:
        """Return the calls without an answer among the newest items, by call id."""
        answered: set[str] = set()
        found: dict[str, Json] = {}
        async for item in self.conversations.items(conversation_id, most=_SCAN_ITEMS):
            if answer := answered_call(item):
                answered.add(answer[0])
            elif (call_id := waits_for_answer(item)) and call_id not in answered:
                found[call_id] = item
        return found


def checked_outputs(view: RunView, outputs: list[ToolOutput]) -> dict[str, str]:
    """Return submitted outputs by call id; raises 400 unless they are what the run needs."""
    if view.status != "requires_action":
        raise run_not_waiting(view.status)
    waiting = _waiting(view)
    given = [output.tool_call_id for output in outputs]
    _refuse([each for each in given if each not in waiting], "are not waited for", "unknown_tool_call")
    _refuse([each for each in waiting if each not in given], "have no output yet", "missing_tool_output")
    if len(set(given)) != len(given):
        raise BadRequestError("A tool call has two outputs. Send one each.", param="tool_outputs")
    # Before anything is carried out, as it may refuse one of them.
    output_items(view, found := {output.tool_call_id: output.output for output in outputs})
    return found


def run_not_waiting(status: str) -> BadRequestError:
    """Return the error for outputs that a run does not wait for."""
    message = f"The run is {status} and waits for no tool outputs."
    return BadRequestError(message, param="run_id", code="run_not_waiting")


def output_items(view: RunView, outputs: Mapping[str, str]) -> list[Json]:
    """Return the input items that answer a run's calls."""
    waiting = _waiting(view)
    return [_answer(waiting[call_id], output) for call_id, output in outputs.items()]


def _typed_answer(call: Json | None, item: Json) -> Json:
    if call is None or item.get("type") != "function_call_output":
        return item
    return _answer(call, str(item.get("output") or ""))


def _answer(call: Json, output: str) -> Json:
    try:
        return answer_item(call, output)
    except BadAnswerError as exc:
        raise BadRequestError(str(exc), param="tool_outputs", code="invalid_approval") from exc


def _waiting(view: RunView) -> dict[str, Json]:
    """Return the items that the run waits for the client to answer, by the ids of their calls."""
    asked = {call["id"] for call in pending_calls(view.response, view.context.own_tools)}
    calls = ((client_call(item, view.response), item) for item in view.response.get("output") or [])
    return {call["id"]: item for call, item in calls if call and call["id"] in asked}


def answered_step(view: RunView, outputs: Mapping[str, str]) -> list[DomainEvent]:
    """Return the `StepEnded` of a step that waited and has all outputs, by call id, now."""
    run = view.run() | {"status": "in_progress", "usage": None}
    return answered_steps(view.response, run, view.context, outputs)


def answered_steps(
    response: Json, run: Json, context: RunContext, outputs: Mapping[str, str]
) -> list[DomainEvent]:
    """Return the `StepEnded` of each step of a response whose calls have outputs."""
    steps = run_steps(response, run, context, outputs)
    calls = ({call["id"] for call in step["step_details"].get("tool_calls") or []} for step in steps)
    return [StepEnded(step) for step, ids in zip(steps, calls, strict=True) if ids and ids <= outputs.keys()]


def _refuse(call_ids: list[str], why: str, code: str) -> None:
    if call_ids:
        named = ", ".join(repr(call_id[:80]) for call_id in call_ids[:10])
        raise BadRequestError(f"These tool calls {why}: {named}.", param="tool_outputs", code=code)
