"""The stream events and objects of the upstream, with checks of the types of those fields that are used.

Only the needed fields are parsed, into flat structs: to build the SDK's event models would cost ten times as
much as all other work on a token. Items of unknown kinds pass unchecked. Source: OpenAI's Responses API.
"""

from typing import Annotated, Any

import msgspec
import orjson

from app.translate.events import Json

TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})
UPSTREAM_FAILED: Json = {
    "message": "The upstream failed.",
    "type": "upstream_error",
    "param": None,
    "code": "upstream_failed",
}


class UpstreamEvent(msgspec.Struct):
    """The needed fields of all kinds of stream events; every field is optional."""

    type: str = ""
    sequence_number: int | None = None
    output_index: int = 0
    content_index: int = 0
    item_id: str | None = None
    delta: str | None = None
    annotation: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    code: Any = None
    error: Any = None


class MalformedEventError(ValueError):
    """The upstream sent something that is not an event of its API."""


class ErrorEventError(MalformedEventError):
    """The upstream sent an error event after its response had begun; `code` is the upstream's."""

    def __init__(self, code: object) -> None:
        super().__init__("error")
        self.code = code


UNREADABLE = (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError, RecursionError)
"""The errors that reading an event raises if it does not have the fields of its kind."""


class _Named(msgspec.Struct):
    """The field that identifies an event without a name."""

    type: str | None = None
    error: Any = None


class _Numbered(msgspec.Struct):
    """The field with the position of an event in its stream."""

    sequence_number: int | None = None


decode = msgspec.json.Decoder(UpstreamEvent).decode
_decode_name = msgspec.json.Decoder(_Named).decode
_decode_number = msgspec.json.Decoder(_Numbered).decode


def name_of(data: bytes) -> str:
    """Return the type of an event without a name; raises `MalformedEventError`."""
    try:
        found = _decode_name(data)
    except UNREADABLE as exc:
        raise MalformedEventError("an event without a type") from exc
    if found.type is None and found.error is None:
        raise MalformedEventError("an event without a type")
    # Azure and some gateways send a bare error object instead of an event.
    return found.type or "error"


def item_of(event: UpstreamEvent) -> Json:
    """Return the checked item of an event; raises `ValueError` if there is none."""
    if event.item is None:
        raise MalformedEventError(event.type)
    return checked_item(event.item)


def response_of(event: UpstreamEvent) -> Json:
    """Return the checked response of an event; raises `ValueError` if there is none."""
    if event.response is None:
        raise MalformedEventError(event.type)
    return checked_response(event.response)


def sequence_of(data: bytes) -> int | None:
    """Return the sequence number of an event; None if it has none or cannot be read."""
    try:
        # As text, because msgspec does not check bytes that it skips for valid UTF-8.
        return _decode_number(data.decode()).sequence_number
    except UNREADABLE:
        return None


class BadShapeError(ValueError):
    """An upstream object does not have the types that its API describes."""


_Tokens = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
"""Some upstreams count tokens in floats."""

_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Unix time in seconds; no later year than 5138."""


class _Usage(msgspec.Struct):
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None


class _Response(msgspec.Struct):
    id: str
    created_at: _Moment | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None


class _Conversation(msgspec.Struct):
    id: str
    created_at: _Moment | None = None


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


def read_response(body: bytes) -> Json:
    """Parse and check a response; raises `BadShapeError`, or another `ValueError` if it is not JSON."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise BadShapeError("a response is an object")
    return checked_response(found)


def checked_response(found: Json) -> Json:
    """Return a response unchanged after checking it; raises `BadShapeError`."""
    _check(found, _Response)
    for item in found.get("output") or []:
        checked_item(item)
    return found


def checked_conversation(found: Json) -> Json:
    """Return a conversation unchanged after checking it; raises `BadShapeError`."""
    _check(found, _Conversation)
    return found


def checked_item(found: Json) -> Json:
    """Return an item unchanged after checking it; raises `BadShapeError`."""
    kind = found.get("type")
    if isinstance(kind, str) and kind in _ITEMS:
        _check(found, _ITEMS[kind])
    return found


def _check(found: Json, shape: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as exc:
        raise BadShapeError from exc
