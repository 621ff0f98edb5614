"""The titles of threads."""

from app.translate.attachments import is_file_list
from app.translate.events import Json

_MOST_CHARS = 80
_FEWEST_CHARS = 40
_READ_CHARS = 1_000
_ELLIPSIS = "…"


def title_of(items: object) -> str | None:
    """Return the first question among a request's input items as a title; None if there is none in words."""
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("role") == "user" and (title := _title(_text_of(item))):
            return title
    return None


def one_line(text: str) -> str:
    """Return a text without line breaks and what cannot be printed."""
    return "".join(char for char in " ".join(text.split()) if char.isprintable())


def _title(text: str) -> str:
    """Return the beginning of a text: whole words where it has some, on one line."""
    line = one_line(text[:_READ_CHARS])
    if len(line) <= _MOST_CHARS:
        return line
    words, blank, _ = line[:_MOST_CHARS].rpartition(" ")
    # Not every script puts blanks between words.
    begun = words if blank and len(words) >= _FEWEST_CHARS else line[: _MOST_CHARS - 1]
    return begun.rstrip() + _ELLIPSIS


def _text_of(item: Json) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in content or [] if isinstance(part, dict) and not is_file_list(part)]
    return next((str(part["text"]) for part in parts if str(part.get("text") or "").strip()), "")
