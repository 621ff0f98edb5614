"""The upstream's objects as the service keeps them where the upstream stores nothing."""

import hashlib
from collections.abc import Mapping, Sequence

from app.translate.events import Json
from app.translate.inline_files import without_files
from app.utils.ids import created_at_of, new_id

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_SETTINGS = (
    "background",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
)
_REDACTED = "<redacted>"


def stored_input(items: object) -> list[Json]:
    """Return input items as a conversation holds them: with ids, a type and content parts."""
    return [_stored(item) for item in items] if isinstance(items, list) else []


def kept_input(items: object) -> list[Json]:
    """Return input items as the store keeps them: without the files in them."""
    return [without_files(item) for item in stored_input(items)]


def kept_items(response: Json, done: Sequence[Json]) -> list[Json]:
    """Return the output of a response with an id of its own for each item.

    `done` are the items that its stream told of: some servers leave the output of the last event empty. A
    message whose id does not tell its time has the response's.
    """
    items = response.get("output") or done
    seen: set[str] = set()
    kept = []
    for index, item in enumerate(items):
        item_id = item.get("id")
        if not item_id or item_id in seen:
            item_id = f"item_{response['id']}_{index}"
        seen.add(item_id)
        is_dated = item.get("type") != "message" or created_at_of(item_id) is not None
        kept.append(item | {"id": item_id} | ({} if is_dated else {"created_at": response["created_at"]}))
    return kept


def repeated_settings(body: Json) -> Json:
    """Return those settings of a request that OpenAI repeats in its response, without tools' secrets."""
    found = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
    if "tools" in found:
        found["tools"] = [_without_secrets(tool) for tool in found["tools"]]
    return found


def with_settings(response: Json, settings: Mapping[str, object]) -> Json:
    """Return a response with those settings that the upstream does not repeat itself."""
    missing = {name: value for name, value in settings.items() if response.get(name) in (None, {}, [])}
    return response | missing


def origin_of(url: str, body: Json) -> str:
    """Return a name for the model at an address: no other model can read its reasoning."""
    return hashlib.sha256(f"{url} {body.get('model')}".encode()).hexdigest()[:16]


def _stored(item: Json) -> Json:
    kind = str(item.get("type") or "message")
    found: Json = {"id": new_id(_PREFIXES.get(kind, "item")), **item, "type": kind}
    if kind == "message":
        found = {"status": "completed", **found}
        content = item.get("content")
        if isinstance(content, str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            found["content"] = [{"type": part, "text": content}]
    return found


def _without_secrets(tool: Json) -> Json:
    if tool.get("type") != "mcp":
        return tool
    struck: Json = {"authorization": _REDACTED} if tool.get("authorization") else {}
    if isinstance(tool.get("headers"), dict):
        struck["headers"] = dict.fromkeys(tool["headers"], _REDACTED)
    return tool | struck
