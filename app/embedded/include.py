"""What a client only gets if the `include` of its request names it; OpenAI leaves it null otherwise."""

from collections.abc import Collection, Iterable

from app.embedded.wire import Json

_FIELDS = {
    "code_interpreter_call": ("outputs", "code_interpreter_call.outputs"),
    "reasoning": ("encrypted_content", "reasoning.encrypted_content"),
    "file_search_call": ("results", "file_search_call.results"),
}


def shown_items(items: Iterable[Json], include: Collection[str]) -> list[Json]:
    """The items without what nobody asked for."""
    return [_shown(item, include) for item in items]


def shown_body(body: Json, include: Collection[str]) -> Json:
    """The response without what nobody asked for."""
    return {**body, "output": shown_items(body["output"], include)}


def _shown(item: Json, include: Collection[str]) -> Json:
    key, name = _FIELDS.get(item["type"], (None, None))
    return item if key is None or name in include else {**item, key: None}
