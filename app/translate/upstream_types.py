"""The door for what the upstream sends: events and objects are checked here, once, before they are read.

Of events only the needed fields are parsed, into flat structs: to build the SDK's event models would cost ten
times as much as all other work on a token. Objects have to have a shape of `upstream_shapes.py`, and must be
JSON that can be sent on; harmless oddities are mended in place. Ids are checked too, as they become parts of
paths and headers.
Source: OpenAI's Responses API.
"""

from typing import Any

import msgspec
import orjson

from app.translate import upstream_shapes as shapes
from app.translate.events import Json
from app.translate.oddities import mend

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
    output_index: int = -1
    content_index: int = 0
    summary_index: int = 0
    item_id: str | None = None
    delta: str | None = None
    annotation: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    code: Any = None
    error: Any = None


class BadShapeError(ValueError):
    """An upstream object does not have the types that its API describes."""


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


def read_response(body: bytes) -> Json:
    """Parse and check a response; raises `BadShapeError`, or another `ValueError` if it is not JSON."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise BadShapeError("a response is an object")
    return checked_response(found)


def checked_response(found: Json) -> Json:
    """Return a response after checking it; raises `BadShapeError`, as all checks do."""
    _checked(found, shapes.Response)
    _check_parts(found.get("output") or [])
    return found


def checked_item(found: Json) -> Json:
    """Return an item of a response after checking it; it may lack an id."""
    try:
        shape = shapes.ITEMS.get(found.get("type"), shapes.Item)
    except TypeError as exc:
        raise BadShapeError from exc
    return _checked(found, shape)


def checked_page(found: Json) -> Json:
    """Return a page of a list after checking it, but not its objects."""
    _checked(found, shapes.Page)
    if found.get("has_more") and not (found["data"] and found["data"][-1].get("id")):
        raise BadShapeError("a page with more after it ends with an id")
    return found


def checked_items(found: Json) -> Json:
    """Return a page of a conversation's items after checking it; its messages have ids."""
    _check_parts(checked_page(found)["data"])
    _check_ids(found["data"])
    return found


def checked_stored_item(found: Json) -> Json:
    """Return an item of a conversation after checking it; a message has an id."""
    _check_ids([checked_item(found)])
    return found


def checked_conversation(found: Json) -> Json:
    """Return a conversation after checking it."""
    return _checked(found, shapes.Conversation)


def checked_annotation(found: Json) -> Json:
    """Return an annotation after checking it."""
    return _checked(found, shapes.Annotation)


def checked_file(found: Json) -> Json:
    """Return a file, or a file of a container, after checking it."""
    return _checked(found, shapes.File)


def checked_files(found: Json) -> Json:
    """Return a page of files after checking it."""
    _check_parts(checked_page(found)["data"], shapes.File)
    return found


def checked_store(found: Json) -> Json:
    """Return a vector store after checking it."""
    return _checked(found, shapes.Store)


def checked_store_file(found: Json) -> Json:
    """Return a file of a vector store after checking it."""
    return _checked(found, shapes.StoreFile)


def checked_store_files(found: Json) -> Json:
    """Return a page of a vector store's files after checking it."""
    _check_parts(checked_page(found)["data"], shapes.StoreFile)
    return found


def checked_model(found: Json) -> Json:
    """Return a model after checking it."""
    return _checked(found, shapes.Model)


def check_sendable(found: Json) -> None:
    """Raise `BadShapeError` for what cannot be sent on as JSON: nested too deep, or with too long numbers."""
    _checked(found, dict)


def _checked(found: Json, shape: type) -> Json:
    try:
        # Our own objects put up to eight levels around it.
        orjson.dumps(((((((((found,),),),),),),),))
        msgspec.convert(found, shape)
    except msgspec.ValidationError as exc:
        _mended(found, shape, exc)
    except (orjson.JSONEncodeError, RecursionError) as exc:
        raise BadShapeError from exc
    return found


def _mended(found: Json, shape: type, cause: msgspec.ValidationError) -> None:
    """Mend an object that failed its check with `cause`, and check it again."""
    if not mend(found):
        raise BadShapeError from cause
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as exc:
        raise BadShapeError from exc


def _check_parts(parts: list[Json], shape: type | None = None) -> None:
    """Check the objects of a list that can be sent on; those without a shape are items."""
    try:
        for part in parts:
            kind = shape or shapes.ITEMS.get(part.get("type"), shapes.Item)
            try:
                msgspec.convert(part, kind)
            except msgspec.ValidationError as exc:
                _mended(part, kind, exc)
    # A list or an object as the type is a `TypeError`.
    except (RecursionError, TypeError) as exc:
        raise BadShapeError from exc


def _check_ids(items: list[Json]) -> None:
    if any(item.get("type") == "message" and not item.get("id") for item in items):
        raise BadShapeError("a stored message has an id")
