"""The stream events of the upstream. Source: OpenAI's Responses API.

Only the needed fields are parsed, into flat structs: to build the SDK's event models would cost ten times as
much as all other work on a token.
"""

from typing import Any

import msgspec

from app.translate.events import Json
from app.translate.upstream_objects import checked_annotation, checked_item, checked_response

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


def annotation_of(event: UpstreamEvent) -> Json:
    """Return the checked annotation of an event, empty if there is none; raises `BadShapeError`."""
    return checked_annotation(event.annotation or {})
