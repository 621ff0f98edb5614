"""Translates public messages to upstream input items."""

from collections.abc import Sequence
from typing import Any

from app.translate.attachments import Attached, attachment_parts
from app.translate.events import Json
from app.utils.ids import IdCodec


def message_item(message: Json, ids: IdCodec, attached: Sequence[Attached] = ()) -> Json:
    """Return the input item for a public message `{role, content}` and its attachments.

    Raises `BadIdError` for a file of another owner.
    """
    kind = "output_text" if message["role"] == "assistant" else "input_text"
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return {
        "type": "message",
        "role": message["role"],
        "content": [_part(part, kind, ids) for part in parts] + attachment_parts(attached, ids),
    }


def text_length(message: Json) -> int:
    """Return the number of characters in the text of a message."""
    content: Any = message["content"]
    if isinstance(content, str):
        return len(content)
    return sum(len(part.get("text") or "") for part in content)


def is_models_own(item: Json) -> bool:
    """Return whether an item is a message or a call of the model, not its reasoning or an answer to it."""
    kind = str(item.get("type"))
    return item.get("role") in {None, "assistant"} and kind != "reasoning" and not kind.endswith("_output")


def _part(part: Json, text_kind: str, ids: IdCodec) -> Json:
    if part["type"] == "text":
        return {"type": text_kind, "text": part["text"]}
    if part["type"] == "image_file":
        image = part["image_file"]
        file_id, _ = ids.upstream_file(image["file_id"])
        return {"type": "input_image", "file_id": file_id, "detail": image.get("detail") or "auto"}
    image = part["image_url"]
    return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
