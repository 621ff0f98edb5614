"""The upstream's stream events, as far as they are read.

Only the fields that are needed are parsed, into one flat struct: building the SDK's event models costs ten
times the rest of the work on a token. Source: OpenAI's Responses API, streaming events.
"""

from typing import Any

import msgspec

from app.translate.events import Json
from app.translate.shapes import checked_item, checked_response

TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})
UPSTREAM_FAILED: Json = {
    "message": "The upstream failed.",
    "type": "upstream_error",
    "param": None,
    "code": "upstream_failed",
}


class UpstreamEvent(msgspec.Struct):
    """The fields of the upstream's stream events that we need, all optional."""

    type: str = ""
    sequence_number: int | None = None
    output_index: int = 0
    content_index: int = 0
    item_id: str = ""
    delta: str = ""
    annotation: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


class MalformedEventError(ValueError):
    """The upstream sent something that is no event of its API, or an error instead of one."""


UNREADABLE = (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError, RecursionError)
"""What reading an event raises when it is not what its name says."""


class _Named(msgspec.Struct):
    """The one field that tells what an event without a name is."""

    type: str


class _Numbered(msgspec.Struct):
    """The one field that tells where in its stream an event stands."""

    sequence_number: int | None = None


decode = msgspec.json.Decoder(UpstreamEvent).decode
_decode_name = msgspec.json.Decoder(_Named).decode
_decode_number = msgspec.json.Decoder(_Numbered).decode


def name_of(data: bytes) -> str:
    """Return what an event without a name is; raises `MalformedEventError`."""
    try:
        return _decode_name(data).type
    except UNREADABLE as exc:
        raise MalformedEventError("an event without a type") from exc


def item_of(event: UpstreamEvent) -> Json:
    """Return the item that an event holds; raises `ValueError` where it holds none."""
    if event.item is None:
        raise MalformedEventError(event.type)
    return checked_item(event.item)


def response_of(event: UpstreamEvent) -> Json:
    """Return the response that an event holds; raises `ValueError` where it holds none."""
    if event.response is None:
        raise MalformedEventError(event.type)
    return checked_response(event.response)


def sequence_of(data: bytes) -> int | None:
    """Return an event's number; None for one without, and for what cannot be read."""
    try:
        # Of bytes, the decoder looks only at those that it returns.
        return _decode_number(data.decode()).sequence_number
    except UNREADABLE:
        return None
