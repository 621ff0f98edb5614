"""The text that a model gets of what a tool returned."""

import inspect
import json
from collections.abc import AsyncIterator, Iterator

from pydantic_core import to_jsonable_python

from app.tools import ToolError


class BadOutputError(ToolError):
    """The output cannot be sent to the model; the message tells it so."""


def text_of(value: object, max_bytes: int) -> str:
    """Return a string as it is, and another value as JSON.

    Raises `BadOutputError` for what JSON cannot hold, and for more than `max_bytes` bytes in UTF-8.
    """
    text = value if isinstance(value, str) else _json(value)
    try:
        is_too_long = len(text) > max_bytes or len(text.encode()) > max_bytes
    except UnicodeEncodeError:
        raise BadOutputError("The tool returned text that cannot be sent.") from None
    if is_too_long:
        raise BadOutputError(f"The tool returned more than {max_bytes} bytes. Ask for less.")
    return text


def _json(value: object) -> str:
    if inspect.iscoroutine(value):
        value.close()  # else Python would warn that nobody awaited it
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (ValueError, TypeError, RecursionError):
        raise BadOutputError("The tool returned what JSON cannot hold.") from None


def _plain(value: object) -> object:
    # pydantic would read an iterator to its end, which may never come.
    if isinstance(value, Iterator | AsyncIterator):
        raise TypeError
    return to_jsonable_python(value)
