"""What clients see of the tools that the upstream runs itself: their names, inputs and results."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from app.translate.events import DomainEvent, HostedCall, Json

_FAILED = frozenset({"failed", "incomplete"})
_SHELL_OUTPUT = "shell_call_output"


def hosted_call(item: Json, *, is_over: bool) -> list[DomainEvent]:
    """Return the event for the start or the end of an item; none if it is no hosted call."""
    kind = str(item.get("type"))
    if kind not in _HOSTED or (kind == _SHELL_OUTPUT and not is_over):
        return []
    name, given, result = _HOSTED[kind](item)
    call_id = str(item.get("call_id") or item.get("id"))
    # The output of a shell is an item of its own, and its call is over when that is.
    if not is_over or kind == "shell_call":
        return [HostedCall(call_id, name, "in_progress", given)]
    is_failed = item.get("status") in _FAILED or bool(item.get("error"))
    return [HostedCall(call_id, name, "failed" if is_failed else "completed", given, result)]


def _web_search(item: Json) -> tuple[str, Json, Json]:
    action = _object(item.get("action"))
    kept = {key: action[key] for key in ("type", "query", "queries", "url", "pattern") if action.get(key)}
    return "web_search", kept, {"sources": action["sources"]} if action.get("sources") else {}


def _mcp(item: Json) -> tuple[str, Json, Json]:
    given = {"server_label": item.get("server_label"), "arguments": _parsed(item.get("arguments"))}
    # An error may hold the address of the server, which is the operator's business.
    result = {"is_error": True} if item.get("error") else {"output": item.get("output")}
    return str(item.get("name") or "mcp"), given, result


def _file_search(item: Json) -> tuple[str, Json, Json]:
    return "file_search", {"queries": item.get("queries") or []}, {}


def _code_interpreter(item: Json) -> tuple[str, Json, Json]:
    logs = [output.get("logs") or "" for output in item.get("outputs") or [] if output.get("type") == "logs"]
    return "code_interpreter", {"code": item.get("code") or ""}, {"logs": logs} if logs else {}


def _image_generation(item: Json) -> tuple[str, Json, Json]:
    # The picture itself is a file: its bytes are no text for a stream.
    return "image_generation", {"prompt": item.get("revised_prompt") or ""}, {}


def _shell(item: Json) -> tuple[str, Json, Json]:
    return "shell", {"commands": _object(item.get("action")).get("commands") or []}, {}


def _shell_output(item: Json) -> tuple[str, Json, Json]:
    found = item.get("output")
    parts = [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []
    kept = [{"stdout": part.get("stdout") or "", "stderr": part.get("stderr") or ""} for part in parts]
    return "shell", {}, {"output": kept}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(arguments: object) -> Any:
    try:
        return orjson.loads(str(arguments or "{}"))
    except orjson.JSONDecodeError:
        return arguments


_HOSTED: Mapping[str, Callable[[Json], tuple[str, Json, Json]]] = {
    "web_search_call": _web_search,
    "mcp_call": _mcp,
    "file_search_call": _file_search,
    "code_interpreter_call": _code_interpreter,
    "image_generation_call": _image_generation,
    "shell_call": _shell,
    _SHELL_OUTPUT: _shell_output,
}
