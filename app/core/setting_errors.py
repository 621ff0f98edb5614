"""What is wrong with settings, a line each: the name, the value unless it is secret, and what to write."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

_MAX_CHARS = 120
_USER_INFO = re.compile(r"(?<=//)[^/@\s]*@")
_NUMBER = "write a number without a unit"
_WHOLE = "write a whole number without a unit"
_JSON_TEXT = "write each as text in double quotes"
_REMEDIES = {
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_parsing": "write true or false",
    "literal_error": "write {expected}",
    "greater_than": "write a number above {gt:g}",
    "greater_than_equal": "write {ge:g} or more",
    "less_than_equal": "write {le:g} or less",
    "too_short": "has no key",
    "string_pattern_mismatch": "write 1 to 64 letters, digits, _ or -",
    "string_type": _JSON_TEXT,
    "string_unicode": "is no UTF-8 text; write it anew",
    "dict_type": 'write JSON objects, such as {{"type": "file_search"}}',
}


def lines_of(exc: ValidationError, settings: type[BaseModel]) -> list[str]:
    """Return the lines for what pydantic found in values of `settings`, the class."""
    lines = [line for error in exc.errors(include_url=False) for line in _lines(error, settings)]
    return list(dict.fromkeys(lines))


def _lines(error: ErrorDetails, settings: type[BaseModel]) -> Iterator[str]:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # contradictions, which name the settings themselves
        yield from message.splitlines()
        return
    name, *places = error["loc"]
    field = settings.model_fields.get(str(name))
    template = _REMEDIES.get(error["type"])
    remedy = template.format(**_numbers(error.get("ctx", {}))) if template else message
    is_secret = field is not None and "SecretStr" in repr(field.rebuild_annotation())
    shown = "***" if is_secret else _shown(error["input"])
    yield f"{str(name).upper()}{_place(places)}={shown}: {remedy}{_default(field) if not places else ''}"


def _numbers(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, int) else value for name, value in context.items()}


def _place(places: list[int | str]) -> str:
    words = [f"entry {place + 1}" if isinstance(place, int) else str(place) for place in places]
    return f" ({', '.join(word for word in words if word != '[key]')})" if words else ""


def _shown(value: object) -> str:
    text = _USER_INFO.sub("***@", value) if isinstance(value, str) else value
    found = repr(text)
    return found if len(found) <= _MAX_CHARS else found[:_MAX_CHARS] + "…"


def _default(field: Any) -> str:
    default = field.default if field is not None else None
    if default is None or isinstance(default, SecretStr | list | dict):
        return ""
    return f" (default {str(default).lower() if isinstance(default, bool) else default})"
