"""Turns the stored items of a conversation into the input of a response.

Upstreams refuse calls without an answer, answers without a call, and reasoning without what it led to.
"""

from collections.abc import Sequence
from typing import NamedTuple

from app.translate.client_calls import answered_call, waits_for_answer
from app.translate.events import Json

_COMPACTION = "compaction"
# What servers add to answers and refuse in the input.
_OUTPUT_ONLY = frozenset({"logprobs", "parsed", "parsed_arguments", "created_at", "created_by"})
_NAMED_BY_ID = frozenset({"mcp_approval_request", "local_shell_call", "local_shell_call_output"})
# Careful estimates, for English and Korean alike.
_CHARS_PER_TOKEN = 2
_ITEM_TOKENS = 8


class StoredItem(NamedTuple):
    """An item of a conversation: its place, its content, which model wrote it, and in which response."""

    position: int
    body: Json
    origin: str | None
    response: str


def replayed(
    history: Sequence[StoredItem], new: Sequence[Json], *, origin: str, has_reasoning: bool, keeps_ids: bool
) -> list[Json]:
    """Return the input for the next response.

    Args:
        history: the items of the conversation.
        new: the items that the request adds.
        origin: the model that will read it; reasoning of other models is left out.
        has_reasoning: whether the model's own reasoning is sent back at all.
        keeps_ids: whether the upstream stores responses, and so knows the ids of their items.

    """
    kept = _from_compaction(history, origin)
    calls = {call for item in kept if (call := waits_for_answer(item.body))}
    sent: list[Json] = []
    following: StoredItem | None = None
    for item in reversed(kept):
        answer = answered_call(item.body)
        if answer is not None and answer[0] not in calls:
            continue
        if item.body.get("type") == "reasoning" and not (
            has_reasoning and _is_readable(item, following, origin, keeps_ids=keeps_ids)
        ):
            continue
        sent.append(as_input(item.body, keeps_id=keeps_ids and has_reasoning and item.origin == origin))
        following = item
    return [*reversed(sent), *(as_input(item, keeps_id=False) for item in new)]


def open_calls(history: Sequence[StoredItem], new: Sequence[Json]) -> list[str]:
    """Return the ids of the calls that neither the history nor the new items answer."""
    bodies = [*(item.body for item in history), *new]
    answered = {answer[0] for body in bodies if (answer := answered_call(body))}
    return [call for body in bodies if (call := waits_for_answer(body)) and call not in answered]


def repeated_answers(history: Sequence[StoredItem], new: Sequence[Json]) -> list[str]:
    """Return the ids of the calls that the new items answer although the history has an answer."""
    answered = {answer[0] for item in history if (answer := answered_call(item.body))}
    return [answer[0] for item in new if (answer := answered_call(item)) and answer[0] in answered]


def without_oldest_turns(history: Sequence[StoredItem]) -> list[StoredItem] | None:
    """Return the newer half of the turns; None if there is only one."""
    starts = [at for at, item in enumerate(history) if at and _begins_turn(item, history[at - 1])]
    return list(history[starts[(len(starts) - 1) // 2] :]) if starts else None


def fitting(history: Sequence[StoredItem], tokens: int) -> list[StoredItem]:
    """Return the newest turns whose estimated size is within `tokens`; the newest one always."""
    start, size = len(history), 0
    for at in reversed(range(len(history))):
        size += estimated_tokens(history[at].body)
        if size > tokens and start < len(history):
            break
        if at == 0 or _begins_turn(history[at], history[at - 1]):
            start = at
    return list(history[start:])


def estimated_tokens(item: Json) -> int:
    """Return about how many tokens an item takes; pictures and files do not count."""
    content = item.get("content")
    parts = content if isinstance(content, list) else [item]
    texts = (part.get("text") if part.get("type") != "message" else None for part in parts)
    size = sum(len(text) for text in texts if isinstance(text, str)) or len(str(item.get("arguments") or ""))
    return (size + len(str(item.get("output") or ""))) // _CHARS_PER_TOKEN + _ITEM_TOKENS


def _from_compaction(history: Sequence[StoredItem], origin: str) -> list[StoredItem]:
    """Return the items from the newest compaction on, which stands for all before it."""
    readable = [at for at, item in enumerate(history) if _is_compaction(item) and item.origin == origin]
    start = readable[-1] if readable else 0
    return [item for item in history[start:] if not _is_compaction(item) or item.origin == origin]


def _is_compaction(item: StoredItem) -> bool:
    return item.body.get("type") == _COMPACTION


def _is_readable(item: StoredItem, following: StoredItem | None, origin: str, *, keeps_ids: bool) -> bool:
    """Return whether a reasoning item is this model's, whole, and followed by what it led to."""
    is_paired = following is not None and following.response == item.response and following.origin
    return bool(is_paired and item.origin == origin and (keeps_ids or item.body.get("encrypted_content")))


def _begins_turn(item: StoredItem, before: StoredItem) -> bool:
    return item.body.get("role") == "user" and before.body.get("role") != "user"


def as_input(item: Json, *, keeps_id: bool) -> Json:
    """Return a stored item as an input item; ids that an answer refers to stay in any case."""
    left_out = _OUTPUT_ONLY if keeps_id else _OUTPUT_ONLY | {"id"}
    sent = {key: value for key, value in item.items() if key not in left_out or _needs_id(key, item)}
    content = item.get("content")
    if isinstance(content, list):
        sent["content"] = [_part(part) for part in content]
    return sent


def _needs_id(key: str, item: Json) -> bool:
    """Return whether the id is what an answer refers to."""
    return key == "id" and item.get("type") in _NAMED_BY_ID


def _part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    return {key: value for key, value in part.items() if key not in _OUTPUT_ONLY and value is not None}
