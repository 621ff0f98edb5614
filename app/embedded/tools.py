"""Checks the tools of a request, as far as responders read them."""

from collections.abc import Callable, Sequence
from typing import Any

from app.embedded.errors import ApiError
from app.embedded.wire import Json


def check_tools(tools: Sequence[Json]) -> None:
    """Refuse tools that no responder could read.

    Raises ApiError 400 naming the field.
    """
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        _require(tool, "type", where, "a string", _is_text)
        if tool["type"] == "function":
            _require(tool, "name", where, "a string", _is_text)
            _require(tool, "parameters", where, "a JSON schema", _is_schema)
        elif tool["type"] == "file_search":
            _require(tool, "vector_store_ids", where, "an array of strings", _are_texts)
        elif tool["type"] == "code_interpreter":
            _require(tool, "container", where, "a container id or an object", _is_container)


def _require(tool: Json, key: str, where: str, expected: str, holds: Callable[[Any], bool]) -> None:
    value = tool.get(key)
    if holds(value):
        return
    param = f"{where}.{key}"
    if value is None:
        message = f"Missing required parameter: '{param}'."
        raise ApiError(message, param=param, code="missing_required_parameter")
    raise ApiError(f"Invalid type for '{param}': expected {expected}.", param=param, code="invalid_type")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_schema(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_container(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and _are_texts(value.get("file_ids") or []))
