"""What upstream objects must look like before anything reads them: an upstream is not to be trusted.

Only what is read is checked, and only where a wrong type would do harm; unknown kinds of items pass.
"""

from typing import Any

import msgspec

from app.translate.events import Json


class BadShapeError(ValueError):
    """An upstream object is not what its API says it is."""


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Response(msgspec.Struct):
    id: str
    created_at: int | float | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None


class _Conversation(msgspec.Struct):
    id: str
    created_at: int | float | None = None


class _Part(msgspec.Struct):
    annotations: list[dict[str, Any]] | None = None


class _Message(msgspec.Struct):
    content: list[_Part] | None = None


class _FunctionCall(msgspec.Struct):
    call_id: str
    name: str
    arguments: str | None = None


class _CodeCall(msgspec.Struct):
    code: str | None = None
    outputs: list[dict[str, Any]] | None = None


class _SearchCall(msgspec.Struct):
    results: list[dict[str, Any]] | None = None


_ITEMS: dict[object, type[msgspec.Struct]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "code_interpreter_call": _CodeCall,
    "file_search_call": _SearchCall,
}


def checked_response(found: Json) -> Json:
    """Return a response as it came; raises `BadShapeError`."""
    _check(found, _Response)
    for item in found.get("output") or []:
        checked_item(item)
    return found


def checked_conversation(found: Json) -> Json:
    """Return a conversation as it came; raises `BadShapeError`."""
    _check(found, _Conversation)
    return found


def checked_item(found: Json) -> Json:
    """Return an item of a response or conversation as it came; raises `BadShapeError`."""
    kind = found.get("type")
    if isinstance(kind, str) and kind in _ITEMS:
        _check(found, _ITEMS[kind])
    return found


def _check(found: Json, shape: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as exc:
        raise BadShapeError from exc
