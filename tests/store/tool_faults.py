"""The points at which a service of `killed_service` dies while it carries out a run's calls."""

import asyncio
from typing import Any, Protocol
from unittest.mock import patch

from app.core.runs.tool_creator import ToolRunCreator
from app.core.runs.tool_loop import ToolLoop
from app.core.tools.toolbox import Toolbox
from app.core.upstream.conversations import Conversations
from app.core.upstream.responses import Responses
from app.translate.run_metadata import RunRounds

BEFORE_TOOLS, WHILE_TOOLS_RUN, AFTER_TOOLS = "before-tools", "while-tools-run", "after-tools"
OUTPUTS_SENT, BETWEEN_ROUNDS = "outputs-sent", "between-rounds"
LOOP = (BEFORE_TOOLS, WHILE_TOOLS_RUN, AFTER_TOOLS, OUTPUTS_SENT, BETWEEN_ROUNDS)
OURS_STORED = "ours-stored"
"""Beside calls of the client's."""

APPROVAL_NOTED = "approval-noted"
_TOOLS_WORK_SECONDS = 0.05


class Fault(Protocol):
    """What knows at which point this process dies."""

    def begin(self, body: dict[str, object]) -> None: ...
    def die_at(self, point: str) -> None: ...


def arm(fault: Fault) -> None:
    """Put the points in their places."""
    _arm_calls(fault)
    _arm_responses(fault)
    add_items, claim = Conversations.add_items, ToolRunCreator._claim

    async def added(self: Any, conversation_id: str, items: Any) -> Any:
        found = await add_items(self, conversation_id, items)
        fault.die_at(OURS_STORED)
        return found

    async def claimed(self: Any, view: Any) -> None:
        await claim(self, view)
        fault.die_at(APPROVAL_NOTED)

    _replace(Conversations, "add_items", added)
    _replace(ToolRunCreator, "_claim", claimed)


def _arm_calls(fault: Fault) -> None:
    carried_out, execute, step = ToolLoop.carried_out, Toolbox.execute, ToolLoop.step

    async def carrying_out(self: Any, response: Any, calls: Any) -> Any:
        fault.die_at(BEFORE_TOOLS)
        results = await carried_out(self, response, calls)
        fault.die_at(AFTER_TOOLS)
        return results

    async def executing(self: Any, call: Any) -> Any:
        work = asyncio.create_task(execute(self, call))
        await asyncio.sleep(_TOOLS_WORK_SECONDS)
        fault.die_at(WHILE_TOOLS_RUN)
        return await work

    async def stepped(self: Any, response: Any) -> Any:
        if RunRounds.read(response).previous is not None:
            fault.die_at(BETWEEN_ROUNDS)
        return await step(self, response)

    _replace(ToolLoop, "carried_out", carrying_out)
    _replace(ToolLoop, "step", stepped)
    _replace(Toolbox, "execute", executing)


def _arm_responses(fault: Fault) -> None:
    for name in ("create", "create_in_background", "open_stream"):
        _arm_response(fault, name, getattr(Responses, name))


def _arm_response(fault: Fault, name: str, call: Any) -> None:
    async def sent(self: Any, params: Any, **options: Any) -> Any:
        fault.begin(params)
        found = await call(self, params, **options)
        if RunRounds.read(params).previous is not None:
            fault.die_at(OUTPUTS_SENT)
        return found

    _replace(Responses, name, sent)


def _replace(owner: object, name: str, new: object) -> None:
    patch.object(owner, name, new).start()
