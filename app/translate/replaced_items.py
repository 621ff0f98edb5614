"""The items of a turn that another one replaces, and the forms in which upstreams take them back."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from app.translate.client_calls import answered_call, waits_for_answer
from app.translate.events import Json
from app.translate.replay import as_input

WHOLE = (
    "message.input_image.image_url",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "web_search_call.action.sources",
    "reasoning.encrypted_content",
)
"""The upstream's `include` for everything that it leaves out of items otherwise."""

_FILE_NOTE = {"type": "input_text", "text": "[file, not kept]"}


def is_question(item: Json) -> bool:
    """Return whether an item is a message of the user."""
    return item.get("type") == "message" and item.get("role") == "user"


def question_input(item: Json) -> Json:
    """Return the input item that asks a stored question again, with its files."""
    asked = as_input(item, keeps_id=False)
    return {"type": "message", "role": "user", "content": asked.get("content")}


def with_files_of(asked: Json, item: Json) -> Json:
    """Return an input item with the files of a stored question behind its own content."""
    parts = question_input(item)["content"]
    files = [part for part in parts if part.get("type") != "input_text"] if isinstance(parts, list) else []
    return {**asked, "content": [*asked["content"], *files]}


def mark_of(item: Json) -> Json:
    """Return an input item with the text of a question alone."""
    text = _text_of(item)
    part = {"type": "input_text", "text": text if text.strip() else "…"}
    return {"type": "message", "role": "user", "content": [part]}


def common_length(present: Sequence[Json], wanted: Sequence[Json]) -> int:
    """Return how many of the wanted items are in their place already."""
    same = (one.get("id") == other.get("id") for one, other in zip(present, wanted, strict=False))
    return sum(1 for _ in takewhile(bool, same))


def own_items(items: Iterable[Json], questions: Iterable[Json]) -> Iterator[Json]:
    """Yield the items that belong to turns with these questions; from another question on, others wrote."""
    known = [_text_of(question) for question in questions]
    return takewhile(lambda item: not is_question(item) or _text_of(item) in known, items)


def forms_to_put_back(items: Sequence[Json]) -> Iterator[list[Json]]:
    """Yield the forms in which items can be added again, from the most exact one to the most accepted one.

    Not every upstream takes its own ids or all of its own keys, reasoning without its id, or calls of its own
    tools, and a file may be gone.
    """
    yield list(items)
    yield [as_input(item, keeps_id=True) for item in items]
    spoken = [item for item in items if item.get("type") != "reasoning"]
    yield [as_input(item, keeps_id=False) for item in spoken]
    yield [_plain(as_input(item, keeps_id=False)) for item in spoken if _is_plain(item)]


def _is_plain(item: Json) -> bool:
    """Return whether an item is a message, or a call with an answer of its own or such an answer."""
    is_call = waits_for_answer(item) is not None or answered_call(item) is not None
    return item.get("type") == "message" or is_call


def _plain(item: Json) -> Json:
    found = {key: value for key, value in item.items() if key != "status"}
    if item.get("role") == "user" and isinstance(content := item.get("content"), list):
        found["content"] = [part if "text" in part else _FILE_NOTE for part in content]
    return found


def _text_of(item: Json) -> str:
    content = item.get("content")
    parts: Sequence[object] = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
