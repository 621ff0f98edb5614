"""Input items of the wire: checked, completed with ids and every key, and matched against open tool calls."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.embedded.errors import ApiError
from app.embedded.ids import timed_id
from app.embedded.wire import Json

_ROLES = ("user", "assistant", "system", "developer")
_INPUT_PARTS = ("input_text", "input_image", "input_file")
_OUTPUT_PARTS = ("output_text", "refusal")
_PREFIXES = {"function_call": "fc", "function_call_output": "fco", "reasoning": "rs", "message": "msg"}


def input_items(given: str | list[Json] | None, param: str = "input") -> list[Json]:
    """Items as they are stored and read back.

    Raises ApiError 400 naming the item at fault.
    """
    if given is None:
        return []
    if isinstance(given, str):
        return [_message({"role": "user", "content": given}, param)]
    return [_item(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _item(item: Json, param: str) -> Json:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        return _message(item, param)
    if kind == "function_call_output":
        return _call_output(item, param)
    if kind == "function_call":
        _require_text(item, ("call_id", "name", "arguments"), param)
        return {"id": _id_of(item, "fc"), "status": "completed", **item}
    if not isinstance(kind, str):
        raise _missing(f"{param}.type")
    return {**item, "id": _id_of(item, _PREFIXES.get(kind, "item"))}


def _id_of(item: Json, prefix: str) -> str:
    given = item.get("id")
    return given if isinstance(given, str) and given else timed_id(prefix)


def _message(item: Json, param: str) -> Json:
    role = item.get("role")
    if role not in _ROLES:
        supported = ", ".join(f"'{name}'" for name in _ROLES)
        raise _invalid(f"{param}.role", role, supported)
    return {
        "id": _id_of(item, "msg"),
        "type": "message",
        "status": "incomplete" if item.get("status") == "incomplete" else "completed",
        "content": _content(item.get("content"), str(role), f"{param}.content"),
        "role": role,
    }


def _content(content: Any, role: str, param: str) -> list[Json]:
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        return [_part({"type": kind, "text": content}, role, param)]
    if not isinstance(content, list):
        raise ApiError(
            f"Invalid type for '{param}': expected a string or an array of parts.",
            param=param,
            code="invalid_type",
        )
    return [_part(part, role, f"{param}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, role: str, param: str) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    # Conversations accept imported history, so an assistant may also carry plain input text.
    allowed = (*_OUTPUT_PARTS, "input_text") if role == "assistant" else _INPUT_PARTS
    if kind not in allowed:
        raise _invalid(f"{param}.type", kind, ", ".join(f"'{name}'" for name in allowed))
    if kind == "refusal":
        _require_text(part, ("refusal",), param)
        return {"type": "refusal", "refusal": part["refusal"]}
    if kind == "input_image":
        _require_one(part, ("image_url", "file_id"), param)
        known = {key: part.get(key) for key in ("image_url", "file_id")}
        return {"type": kind, "detail": part.get("detail") or "auto", **known}
    if kind == "input_file":
        _require_one(part, ("file_id", "file_data", "file_url"), param)
        return {
            "type": kind,
            **{key: part.get(key) for key in ("file_id", "filename", "file_data", "file_url")},
        }
    _require_text(part, ("text",), param)
    if kind == "input_text":
        return {"type": kind, "text": part["text"]}
    return {
        "type": kind,
        "annotations": part.get("annotations") or [],
        "logprobs": part.get("logprobs") or [],
        "text": part["text"],
    }


def _call_output(item: Json, param: str) -> Json:
    _require_text(item, ("call_id",), param)
    if not isinstance(item.get("output"), str | list):
        raise _missing(f"{param}.output")
    return {
        "id": _id_of(item, "fco"),
        "type": "function_call_output",
        "status": "completed",
        "call_id": item["call_id"],
        "output": item["output"],
    }


def _require_text(item: Json, keys: Sequence[str], param: str) -> None:
    for key in keys:
        if not isinstance(item.get(key), str):
            raise _missing(f"{param}.{key}")


def _require_one(part: Json, keys: Sequence[str], param: str) -> None:
    if not any(isinstance(part.get(key), str) for key in keys):
        raise _missing(f"{param}.{keys[0]}")


def _missing(param: str) -> ApiError:
    return ApiError(
        f"Missing required parameter: '{param}' (a string).", param=param, code="missing_required_parameter"
    )


def _invalid(param: str, value: Any, supported: str) -> ApiError:
    return ApiError(
        f"Invalid value: '{value}'. Supported values are: {supported}.", param=param, code="invalid_value"
    )


def check_outputs_have_calls(history: Iterable[Json], fresh: Sequence[Json]) -> None:
    """Refuse an output whose call is nowhere.

    Raises ApiError 400.
    """
    outputs = [item for item in fresh if item["type"] == "function_call_output"]
    if not outputs:
        return
    calls = {item["call_id"] for item in (*history, *fresh) if item["type"] == "function_call"}
    for item in outputs:
        if item["call_id"] not in calls:
            raise ApiError(
                f"No tool call found for function call output with call_id {item['call_id']}.", param="input"
            )


def check_calls_answered(history: Iterable[Json], fresh: Iterable[Json]) -> None:
    """Refuse to go on while a function call waits for its output.

    Raises ApiError 400.
    """
    open_calls: dict[str, None] = {}
    for item in (*history, *fresh):
        if item["type"] == "function_call":
            open_calls[item["call_id"]] = None
        elif item["type"] == "function_call_output":
            open_calls.pop(item["call_id"], None)
    for call_id in open_calls:
        raise ApiError(f"No tool output found for function call {call_id}.", param="input")


def check_reasoning_followed(items: Sequence[Json]) -> None:
    """Refuse reasoning without what it led to.

    Raises ApiError 400.
    """
    for index, item in enumerate(items):
        following = items[index + 1] if index + 1 < len(items) else None
        is_paired = (
            following is not None
            and following.get("role") in {None, "assistant"}
            and not following["type"].endswith("_output")
        )
        if item["type"] == "reasoning" and not is_paired:
            raise ApiError(
                f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )


def parts_of(item: Json) -> list[Json]:
    """The content parts of an item; items of other kinds have none."""
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def text_of(item: Json) -> str:
    """The text of a message item, its parts joined."""
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts_of(item))


def output_text(item: Json) -> str:
    """What a tool answered, as text."""
    output = item["output"]
    if isinstance(output, str):
        return output
    return "".join(str(part.get("text", "")) for part in output if isinstance(part, dict))
