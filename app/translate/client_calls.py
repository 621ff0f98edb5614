"""Output items that wait for an answer: which of them a client answers, in which form, and the answers.

Clients of the Assistants API know function calls only. So a custom tool's call and an approval of an MCP call
are shown as function calls, where the request had such a tool. The upstream refuses every later turn of a
conversation with an open call of any kind, so each kind has an answer that closes it.
"""

import json
from collections.abc import Callable, Iterable, Mapping

from app.translate.events import Json
from app.translate.run_metadata import RunRounds

APPROVAL_NAME = "mcp_approval"
"""The function as which a client sees a request to approve an MCP call; it answers `approve` or `deny`."""

NOT_ANSWERED = "The tool call was not answered: its caller went away."
CANCELLED = "The tool call was not answered: the run was cancelled."
_ENDINGS = {NOT_ANSWERED: "expired", CANCELLED: "cancelled"}
_CUSTOM, _APPROVAL = "custom_tool_call", "mcp_approval_request"
_KINDS = {"custom": _CUSTOM, APPROVAL_NAME: _APPROVAL}
_DECISIONS = {"approve": True, "approved": True, "deny": False, "denied": False}
# One transparent pixel: a computer call can only be answered with a screenshot.
_PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class BadAnswerError(ValueError):
    """The output does not answer the call; the message says what would."""


def answerable_kinds(tools: Iterable[Json]) -> set[str]:
    """Return the kinds of calls, beside functions, that a client may have to answer for these tools."""
    kinds = set()
    for tool in tools:
        if tool.get("type") == "custom":
            kinds.add("custom")
        if tool.get("type") == "mcp" and tool.get("require_approval") != "never":
            kinds.add(APPROVAL_NAME)
    return kinds


def is_run_by_client(tool: Json) -> bool:
    """Return whether a tool's calls wait for a program beside the service; no client could carry them out."""
    match tool.get("type"):
        case "shell":
            return _is_local(tool)
        case "tool_search":
            return tool.get("execution") == "client"
        case kind:
            return kind in {"apply_patch", "computer", "computer_use_preview", "local_shell"}


def _is_local(shell: Json) -> bool:
    """Return whether a shell, a tool or a call of it, is one beside the service, as it is unless said."""
    environment = shell.get("environment")
    return not isinstance(environment, dict) or environment.get("type") in {None, "local"}


def client_call(item: Json, response: Json) -> Json | None:
    """Return an output item as `{id, name, arguments}` if the client has to answer it, else None.

    A call of a tool that the request did not have is none: no client could know what to do with it.
    """
    kind = item.get("type")
    if kind == "function_call":
        return _function(item)
    if kind in _SHOWN and kind in {_KINDS.get(mark) for mark in RunRounds.read(response).marks}:
        return _SHOWN[kind](item)
    return None


def _function(item: Json) -> Json:
    arguments = item.get("arguments") or ""
    return {"id": str(item.get("call_id")), "name": str(item.get("name") or ""), "arguments": arguments}


def _custom(item: Json) -> Json:
    # Clients parse arguments as JSON, and a custom tool's input is any text.
    arguments = json.dumps({"input": str(item.get("input") or "")}, ensure_ascii=False)
    return {"id": str(item.get("call_id")), "name": str(item.get("name") or ""), "arguments": arguments}


def _approval(item: Json) -> Json:
    asked = {key: item.get(key) for key in ("server_label", "name", "arguments")}
    arguments = json.dumps(asked, ensure_ascii=False)
    return {"id": str(item.get("id")), "name": APPROVAL_NAME, "arguments": arguments}


_SHOWN: Mapping[object, Callable[[Json], Json]] = {_CUSTOM: _custom, _APPROVAL: _approval}


def answer_item(item: Json, output: str) -> Json:
    """Return the input item that answers a client's call; raises `BadAnswerError`."""
    if item.get("type") != _APPROVAL:
        return closing_item(item, output)
    decision = _DECISIONS.get(output.strip().strip('"').lower())
    if decision is None:
        raise BadAnswerError(f"An output of {APPROVAL_NAME} is 'approve' or 'deny'.")
    return {"type": "mcp_approval_response", "approval_request_id": item.get("id"), "approve": decision}


def closing_item(item: Json, sentence: str) -> Json:
    """Return the input item that answers a call of any kind with a sentence, or refuses an approval."""
    kind, call_id = str(item.get("type")), str(item.get("call_id") or item.get("id"))
    if kind == _APPROVAL:
        refusal = {"approval_request_id": item.get("id"), "approve": False, "reason": sentence}
        return {"type": "mcp_approval_response", **refusal}
    answer: Json = {"type": kind + "_output", "call_id": call_id, "output": sentence}
    if kind == "computer_call":
        answer["output"] = {"type": "computer_screenshot", "image_url": _PIXEL}
    elif kind == "shell_call":
        outcome = {"type": "exit", "exit_code": 1}
        answer["output"] = [{"stdout": "", "stderr": sentence, "outcome": outcome}]
    elif kind == "apply_patch_call":
        answer["status"] = "failed"
    elif kind == "local_shell_call":
        # The SDK's types identify the call by `id`, the guide by `call_id`.
        answer["id"] = call_id
    elif kind == "tool_search_call":
        answer = {"type": "tool_search_output", "call_id": call_id, "execution": "client", "tools": []}
    return answer


def waits_for_answer(item: Json) -> str | None:
    """Return the id of the call if the upstream refuses further turns until this item is answered."""
    kind = item.get("type")
    if kind == _APPROVAL:
        return str(item.get("id"))
    runs_here = kind in {"function_call", _CUSTOM, "computer_call", "local_shell_call", "apply_patch_call"}
    if kind == "shell_call":
        runs_here = _is_local(item)
    if kind == "tool_search_call":
        runs_here = item.get("execution") == "client"
    return str(item.get("call_id") or item.get("id")) if runs_here else None


def answered_call(item: Json) -> tuple[str, str] | None:
    """Return the id of the call that an item answers, and the answer as text; None for other items."""
    kind = str(item.get("type"))
    if kind == "mcp_approval_response":
        word = "approve" if item.get("approve") is True else "deny"
        return str(item.get("approval_request_id")), str(item.get("reason") or word)
    if kind.endswith("_output"):
        return str(item.get("call_id") or item.get("id")), _text_of(item.get("output"))
    return None


def ended_by(answers: Iterable[str]) -> str | None:
    """Return the status of a run whose calls got these answers, if we closed them in the client's place."""
    return next((_ENDINGS[answer] for answer in answers if answer in _ENDINGS), None)


def _text_of(output: object) -> str:
    if isinstance(output, str):
        return output
    parts = output if isinstance(output, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
