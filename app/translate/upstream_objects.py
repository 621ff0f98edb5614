"""The door for what the upstream sends: its objects are checked here, once, before anything reads them.

A check looks at an object's shape (`upstream_shapes.py`), and at whether it can be sent on as JSON at all.
Ids are checked too, because they become parts of paths and headers.
"""

import msgspec
import orjson

from app.translate import upstream_shapes as shapes
from app.translate.events import Json


class BadShapeError(ValueError):
    """An upstream object does not have the types that its API describes."""


def read_response(body: bytes) -> Json:
    """Parse and check a response; raises `BadShapeError`, or another `ValueError` if it is not JSON."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise BadShapeError("a response is an object")
    return checked_response(found)


def checked_response(found: Json) -> Json:
    """Return a response unchanged after checking it; raises `BadShapeError`, as all checks do."""
    _checked(found, shapes.Response)
    for item in found.get("output") or []:
        _check_item(item)
    return found


def checked_item(found: Json) -> Json:
    """Return an item of a response unchanged after checking it; it may lack an id."""
    check_sendable(found)
    _check_item(found)
    return found


def checked_page(found: Json) -> Json:
    """Return a page of a list unchanged after checking it, but not its objects."""
    _checked(found, shapes.Page)
    if found.get("has_more") and not (found["data"] and found["data"][-1].get("id")):
        raise BadShapeError("a page with more after it ends with an id")
    return found


def checked_items(found: Json) -> Json:
    """Return a page of a conversation's items unchanged after checking it; its messages have ids."""
    for item in checked_page(found)["data"]:
        _check_stored(item)
    return found


def checked_stored_item(found: Json) -> Json:
    """Return an item of a conversation unchanged after checking it; a message has an id."""
    check_sendable(found)
    _check_stored(found)
    return found


def checked_conversation(found: Json) -> Json:
    """Return a conversation unchanged after checking it."""
    return _checked(found, shapes.Conversation)


def checked_annotation(found: Json) -> Json:
    """Return an annotation unchanged after checking it."""
    return _checked(found, shapes.Annotation)


def checked_file(found: Json) -> Json:
    """Return a file, or a file of a container, unchanged after checking it."""
    return _checked(found, shapes.File)


def checked_files(found: Json) -> Json:
    """Return a page of files unchanged after checking it."""
    for each in checked_page(found)["data"]:
        _convert(each, shapes.File)
    return found


def checked_store(found: Json) -> Json:
    """Return a vector store unchanged after checking it."""
    return _checked(found, shapes.Store)


def checked_store_file(found: Json) -> Json:
    """Return a file of a vector store unchanged after checking it."""
    return _checked(found, shapes.StoreFile)


def checked_store_files(found: Json) -> Json:
    """Return a page of a vector store's files unchanged after checking it."""
    for each in checked_page(found)["data"]:
        _convert(each, shapes.StoreFile)
    return found


def checked_model(found: Json) -> Json:
    """Return a model unchanged after checking it."""
    return _checked(found, shapes.Model)


def check_sendable(found: Json) -> None:
    """Raise `BadShapeError` for what cannot be sent on as JSON: nested too deep, or with too long numbers."""
    try:
        # Our own objects put up to eight levels around it.
        orjson.dumps(((((((((found,),),),),),),),))
    except orjson.JSONEncodeError as exc:
        raise BadShapeError from exc


def _checked(found: Json, shape: type[msgspec.Struct]) -> Json:
    check_sendable(found)
    _convert(found, shape)
    return found


def _check_item(found: Json) -> None:
    kind = found.get("type")
    _convert(found, shapes.ITEMS.get(kind, shapes.Item) if isinstance(kind, str) else shapes.Item)


def _check_stored(found: Json) -> None:
    _check_item(found)
    if found.get("type") == "message" and not found.get("id"):
        raise BadShapeError("a stored message has an id")


def _convert(found: Json, shape: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(found, shape)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise BadShapeError from exc
