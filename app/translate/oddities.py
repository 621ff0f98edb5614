"""Mends what some upstreams send otherwise than OpenAI, where the meaning is plain; the rest is refused."""

import json

from app.translate.events import Json

_FINER_THAN_SECONDS = (1e11, 1e20)
"""The unix times that are no seconds, as those would be after the year 5138, but milli- to nanoseconds."""

_MOMENTS = ("created_at", "completed_at", "expires_at", "last_active_at")
_TEXTS = {
    "function_call": "arguments",
    "mcp_call": "arguments",
    "mcp_approval_request": "arguments",
    "custom_tool_call": "input",
}
"""The field of an item that is a text, in which some upstreams put the object itself."""


def mend(found: Json) -> bool:
    """Mend an object in place; return whether there was anything to mend."""
    changes = _metadata(found) | _moments(found) | _call(found)
    found |= changes
    return bool(changes)


def _metadata(found: Json) -> Json:
    """Return metadata with texts only: other values as JSON, without null."""
    metadata = found.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    texts = {name: _text(value) for name, value in metadata.items() if value is not None}
    return {"metadata": texts} if texts != metadata else {}


def _moments(found: Json) -> Json:
    """Return the times that are no seconds as unknown."""
    least, most = _FINER_THAN_SECONDS
    times = ((name, found.get(name)) for name in _MOMENTS)
    return {name: None for name, time in times if isinstance(time, int | float) and least < time < most}


def _call(item: Json) -> Json:
    """Return the fields of a call that are absent or no text, though they are known."""
    kind, changes = item.get("type"), {}
    name = _TEXTS.get(kind) if isinstance(kind, str) else None
    if name and isinstance(item.get(name), dict | list):
        changes[name] = _text(item[name])
    if kind in {"function_call", "custom_tool_call"} and not item.get("call_id") and item.get("id"):
        changes["call_id"] = item["id"]
    return changes


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
