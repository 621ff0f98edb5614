"""The port between a run and the tools that the service runs; a new source of tools implements `Tool`."""

from dataclasses import dataclass
from typing import Literal, Protocol

from app.tools import Caller, Visible
from app.translate.events import Json

Outcome = Literal["ok", "error", "timeout", "busy", "bad_arguments", "unknown"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model made it; `arguments` is its text, which may be anything."""

    call_id: str
    name: str
    arguments: str
    caller: Caller


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model gets for a call: the output, or a sentence about what went wrong."""

    call_id: str
    output: str
    outcome: Outcome
    seconds: float


class Tool(Protocol):
    """A tool that the service runs."""

    name: str
    spec: Json
    """`{"type": "function", "function": {name, description, parameters, strict}}`, as clients see it."""
    needs_approval: bool
    is_idempotent: bool
    """Whether running a call twice does no harm."""
    timeout_seconds: float
    visible: Visible | None
    """What browsers see of its calls; None leaves it to TOOLS_VISIBLE."""

    async def run(self, arguments: Json, call: ToolCall) -> object:
        """Return the output as text or as what JSON can hold.

        `arguments` is the object that the model's text holds; `BadArgumentsError` refuses it. Of other
        exceptions the model sees the text of a `ToolError` only.
        """


class BadArgumentsError(ValueError):
    """The arguments do not fit the tool; the message tells the model why."""


class BusyError(Exception):
    """All threads are taken."""
