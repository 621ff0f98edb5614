"""Files that travel inside a message, for upstreams that have nowhere to upload them.

The model gets them once, with their message. Conversations in the store hold a note in their place.
"""

import base64
import re

from app.translate.events import Json
from app.utils.filenames import is_image, media_type_of

_NAME = re.compile(r"\[file ([^\n]*)\]\Z")


def inline_parts(filename: str, content: bytes) -> list[Json]:
    """Return the content parts for a file; the name of a picture is a text part after it."""
    url = f"data:{media_type_of(filename)};base64,{base64.b64encode(content).decode()}"
    if not is_image(filename):
        return [{"type": "input_file", "filename": filename, "file_data": url}]
    picture = {"type": "input_image", "image_url": url, "detail": "auto"}
    return [picture, {"type": "input_text", "text": f"[file {_on_one_line(filename)}]"}]


def without_files(item: Json) -> Json:
    """Return an input item with a note in place of each file; a picture that has no name stays."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    kept: list[Json] = []
    for part in content:
        if part.get("type") == "input_file" and part.get("file_data"):
            kept.append(_note(str(part.get("filename") or "file")))
        elif kept and _has_data(kept[-1]) and (name := _NAME.match(str(part.get("text") or ""))):
            kept[-1] = _note(name[1])
        else:
            kept.append(part)
    return {**item, "content": kept}


def _has_data(part: Json) -> bool:
    return part.get("type") == "input_image" and str(part.get("image_url") or "").startswith("data:")


def _note(filename: str) -> Json:
    return {"type": "input_text", "text": f"[file {_on_one_line(filename)}, not kept]"}


def _on_one_line(filename: str) -> str:
    return " ".join(filename.split())
