"""Finds out what an update of the assistant would change: many programs begin by sending it as it is."""

from collections.abc import Mapping
from typing import Any

from app.translate.events import Json
from app.translate.tools import current_tool

_OWN_FILES = "file_ids"
"""Where version 1 of the Assistants API had the assistant's files."""

_EMPTY_AS_ABSENT = frozenset({"metadata", "tool_resources", _OWN_FILES})


def changed_field(sent: Mapping[str, Any], shown: Json, own_model: str) -> str | None:
    """Return the first field whose value is not the assistant's, or None.

    `shown` is the assistant as the caller sees it, `own_model` its configured model. Nulls change nothing,
    nor do empty metadata and resources.
    """
    known = shown | {_OWN_FILES: _files_of(shown)}
    for name, value in sent.items():
        same = _same_tools if name == "tools" else _is_within
        if (
            value is not None
            and not (name in _EMPTY_AS_ABSENT and _is_empty(value))
            and not (name == "model" and value == own_model)
            and not same(value, known.get(name))
        ):
            return name
    return None


def _files_of(shown: Json) -> list[str]:
    return list(((shown.get("tool_resources") or {}).get("code_interpreter") or {}).get("file_ids") or [])


def _same_tools(sent: object, own: object) -> bool:
    """Return whether the same tools are meant, in any order; a tool may lack options and nulls."""
    if not isinstance(sent, list) or not isinstance(own, list) or len(sent) != len(own):
        return False
    left = list(own)
    for tool in sent:
        meant = current_tool(tool) if isinstance(tool, dict) else tool
        match = next((each for each in left if _is_within(meant, each)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _is_within(value: object, own: object) -> bool:
    """Return whether a value says nothing else than ours; keys of objects may be absent, null or empty."""
    if isinstance(value, dict) and isinstance(own, dict):
        return all(_is_empty(inner) or _is_within(inner, own.get(key)) for key, inner in value.items())
    return value == own


def _is_empty(value: object) -> bool:
    """Return whether a value holds nothing at any depth."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value is None or value is False or value == []
