"""Calls of functions that the service runs itself: which they are, and what clients see of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from app.translate.events import HostedCall, Json

DENIED = "The user did not allow this call."
"""What the model is told of a call that was not approved."""

TOO_MANY = "The call was not carried out: this run has made too many rounds of calls."
_ANSWERS = {"approve": True, "approved": True, "deny": False, "denied": False}

Shown = Literal["full", "names", "none"]
"""All of a call, only which function it was, or nothing."""


@dataclass(frozen=True, slots=True)
class OwnTools:
    """The functions that the service runs, by name, with whether each call has to be approved."""

    approvals: Mapping[str, bool]
    shown: Mapping[str, Shown] = field(default_factory=dict)
    """What the caller is told of the calls of a function; all, if it is not named."""

    def runs(self, call: Json) -> bool:
        """Return whether the service answers a function call without asking anybody."""
        return self.approvals.get(str(call.get("name"))) is False

    def asks(self, call: Json) -> bool:
        """Return whether the service answers a function call once somebody has approved it."""
        return bool(self.approvals.get(str(call.get("name"))))

    def hides(self, item: Json) -> bool:
        """Return whether the caller does not see what a call was given and what it answered.

        Who has to approve a call sees all of it.
        """
        return self.has(item) and self.runs(item) and self.shows(item) != "full"

    def shows(self, call: Json) -> Shown:
        """Return what the caller is told of a call."""
        return self.shown.get(str(call.get("name")), "full")

    def has(self, item: Json) -> bool:
        """Return whether an output item is a call of one of the functions."""
        return item.get("type") == "function_call" and item.get("name") in self.approvals


NONE = OwnTools({})


def is_approved(output: str) -> bool | None:
    """Return a client's decision about a call; None if it is none."""
    return _ANSWERS.get(output.strip().strip('"').lower())


def call_begun(item: Json, tools: OwnTools) -> list[HostedCall]:
    """Return the event of a call that the service is about to carry out."""
    return _told(HostedCall(_id(item), _name(item), "in_progress", _parsed(item.get("arguments"))), tools)


def call_ended(item: Json, output: str, *, is_failed: bool, tools: OwnTools) -> list[HostedCall]:
    """Return the event of a call that the service has carried out."""
    status: Literal["failed", "completed"] = "failed" if is_failed else "completed"
    given = _parsed(item.get("arguments"))
    return _told(HostedCall(_id(item), _name(item), status, given, {"output": output}), tools)


def _told(event: HostedCall, tools: OwnTools) -> list[HostedCall]:
    shown = tools.shown.get(event.name, "full")
    if shown == "none":
        return []
    if shown == "names":
        event.input, event.output = {}, {}
    return [event]


def _id(item: Json) -> str:
    return str(item.get("call_id"))


def _name(item: Json) -> str:
    return str(item.get("name") or "")


def _parsed(arguments: object) -> Json:
    try:
        found: Any = orjson.loads(str(arguments or "{}"))
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"arguments": str(arguments)}
