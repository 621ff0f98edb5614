"""Whole threads as documents: exports to JSON and Markdown, imports of message lists."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.translate.annotations import cited_sources
from app.translate.attachments import read_attachments
from app.translate.chat_input import InputError
from app.translate.cited_text import CitedText, FileUrl
from app.translate.events import Json
from app.utils.ids import IdCodec, created_at_of

_IMAGE_SCHEMES = ("https://", "http://", "data:image/")
_MAX_MESSAGES = 10_000


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A message of a transcript; its parts have the form of the public wire."""

    role: str
    parts: list[Json]
    param: str

    def text_length(self) -> int:
        """Return the number of characters in its text."""
        return sum(len(part.get("text") or "") for part in self.parts)

    def item(self, images: Mapping[str, str]) -> Json:
        """Return the input item; `images` has the upstream ids of uploaded images by public id."""
        text = "output_text" if self.role == "assistant" else "input_text"
        return {
            "type": "message",
            "role": self.role,
            "content": [_input_part(part, text, images) for part in self.parts],
        }

    def image_ids(self) -> list[str]:
        """Return the public ids of the uploaded images in the message."""
        return [part["file_id"] for part in self.parts if part["type"] == "image_file"]


def read_transcript(data: Any) -> tuple[list[ImportedMessage], int]:
    """Return the messages of a transcript, oldest first, and how many empty ones were left out.

    Accepts a list page of messages, a plain list, or an export of this service. Raises `InputError`.
    """
    key = "messages" if isinstance(data, dict) and "messages" in data else "data"
    messages = data.get(key) if isinstance(data, dict) else data
    root = f"{key}[{{}}]" if isinstance(data, dict) else "[{}]"
    if not isinstance(messages, list) or not messages:
        raise InputError("Send a list of messages, or an object with one in 'data'.", key)
    if len(messages) > _MAX_MESSAGES:
        raise InputError(f"At most {_MAX_MESSAGES} messages.", key)
    found = [_message(raw, root.format(number)) for number, raw in enumerate(messages)]
    ordered = [each for each in _oldest_first(found) if each.parts]
    return ordered, len(found) - len(ordered)


def _oldest_first(found: list[tuple[int, ImportedMessage]]) -> list[ImportedMessage]:
    """Sort by time; messages of the same second keep their order in the list, oldest first."""
    listed = found[::-1] if found[0][0] > found[-1][0] else found
    return [message for _, message in sorted(listed, key=lambda pair: pair[0])]


def _message(raw: Any, path: str) -> tuple[int, ImportedMessage]:
    if not isinstance(raw, dict):
        raise InputError("Expected a message object.", path)
    role, created_at = raw.get("role"), raw.get("created_at")
    if role not in {"user", "assistant"}:
        raise InputError("Unknown role. Use `user` or `assistant`.", f"{path}.role")
    if created_at is not None and not isinstance(created_at, int):
        raise InputError("Expected a unix time in seconds.", f"{path}.created_at")
    content = raw.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise InputError("Expected a string or a list of parts.", f"{path}.content")
    read = [_part(part, f"{path}.content[{number}]") for number, part in enumerate(parts)]
    kept = [part for part in read if part.get("text") != ""]
    return created_at or 0, ImportedMessage(role, kept, path)


def _part(part: Any, path: str) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    value = part.get(kind) if kind else None
    if kind == "text":
        text = value.get("value") if isinstance(value, dict) else value
        if isinstance(text, str):
            return {"type": "text", "text": text}
    elif kind == "refusal" and isinstance(value, str):
        return {"type": "refusal", "text": value}
    elif kind == "image_file" and isinstance(value, dict) and isinstance(value.get("file_id"), str):
        return {"type": "image_file", "file_id": value["file_id"]}
    elif kind == "image_url" and isinstance(value, dict) and str(value.get("url")).startswith(_IMAGE_SCHEMES):
        return {"type": "image_url", "url": str(value["url"])}
    raise InputError("Expected a part of type `text`, `refusal`, `image_file` or `image_url`.", path)


def _input_part(part: Json, text_kind: str, images: Mapping[str, str]) -> Json:
    if part["type"] == "refusal" and text_kind == "output_text":
        return {"type": "refusal", "refusal": part["text"]}
    if "text" in part:
        return {"type": text_kind, "text": part["text"]}
    if text_kind == "input_text" and part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["url"], "detail": "auto"}
    if text_kind == "input_text" and part["file_id"] in images:
        return {"type": "input_image", "file_id": images[part["file_id"]], "detail": "auto"}
    # The upstream accepts images only from users, and uploaded ones only if it has them.
    return {"type": text_kind, "text": f"[image: {str(part.get('file_id') or part.get('url'))[:80]}]"}


def tool_calls(items: list[Json], ids: IdCodec) -> list[Json]:
    """Return the type, input and output of each tool call, and the id of the message before it."""
    outputs = _outputs(items)
    after: str | None = None
    found: list[Json] = []
    for item in items:
        if item["type"] == "message":
            after = ids.message(str(item.get("id")))
        elif call := _tool_call(item, outputs):
            found.append({"after": after, **call})
    return found


def _outputs(items: list[Json]) -> Mapping[Any, Any]:
    """Return the outputs of function calls by call id."""
    return {i.get("call_id"): i.get("output") for i in items if i["type"] == "function_call_output"}


def _tool_call(item: Json, outputs: Mapping[Any, Any]) -> Json | None:
    if item["type"] == "function_call":
        output = outputs.get(item.get("call_id"))
        shown = output if isinstance(output, str) or output is None else json.dumps(output)
        called = {"name": item.get("name"), "arguments": item.get("arguments")}
        return {"type": "function", **called, "output": shown}
    if item["type"] == "code_interpreter_call":
        return {"type": "code_interpreter", "input": item.get("code") or ""}
    if item["type"] == "file_search_call":
        return {"type": "file_search", "queries": item.get("queries") or []}
    return None


class MarkdownTranscript:
    """Writes the items of a thread, oldest first, as a Markdown document."""

    def __init__(self, ids: IdCodec, assistant_name: str, file_url: FileUrl) -> None:
        self._ids = ids
        self._names = {"assistant": assistant_name, "user": "User"}
        self._file_url = file_url
        self._numbers: dict[str, int] = {}
        self._footnotes: dict[int, str] = {}

    def write(self, thread: Json, items: list[Json]) -> str:
        """Return the document."""
        outputs = _outputs(items)
        blocks = [block for item in items if (block := self._block(item, outputs, thread["created_at"]))]
        messages = sum(item["type"] == "message" for item in items)
        count = f"{messages} message{'' if messages == 1 else 's'}"
        head = f"# Conversation with {self._names['assistant']}\n\n"
        head += f"Thread `{thread['id']}` · begun {_moment(thread['created_at'])} · {count}"
        notes = [f"[^{number}]: {line}" for number, line in sorted(self._footnotes.items())]
        return "\n\n".join([head, "---", *blocks, *(["---", "\n".join(notes)] if notes else [])]) + "\n"

    def _block(self, item: Json, outputs: Mapping[Any, Any], began_at: int) -> str:
        if item["type"] == "message":
            return self._message(item, began_at)
        call = _tool_call(item, outputs)
        return _call_block(call) if call else ""

    def _message(self, item: Json, began_at: int) -> str:
        attachments, parts, names = read_attachments(item, self._ids)
        moment = created_at_of(str(item.get("id"))) or began_at
        name = self._names["assistant" if item.get("role") == "assistant" else "user"]
        blocks = [f"**{name}** · {_moment(moment)}", *filter(None, map(self._part, parts))]
        for attachment in attachments:
            file_id = attachment["file_id"]
            tools = ", ".join(tool["type"].replace("_", " ") for tool in attachment["tools"])
            label = _plain(names.get(file_id) or file_id)
            given = f", for {tools}" if tools else ""
            blocks.append(f"*Attached: [{label}]({self._file_url(file_id)}){given}*")
        return "\n\n".join(blocks)

    def _part(self, part: Json) -> str:
        kind = part.get("type")
        if kind in {"input_text", "output_text", "text"}:
            return self._cited(part)
        if kind == "refusal":
            return str(part.get("refusal") or "")
        if kind == "input_file":
            return f"*Attached: {_plain(str(part.get('filename') or 'file'))}*"
        if kind == "input_image":
            return self._image(part)
        return ""

    def _image(self, part: Json) -> str:
        if part.get("file_id"):
            return f"![image]({self._file_url(self._ids.file(str(part['file_id'])))})"
        url = str(part.get("image_url") or "")
        # A data URL would fill pages.
        return "*(image)*" if url.startswith("data:") else f"![image]({url})"

    def _cited(self, part: Json) -> str:
        text = str(part.get("text") or "")
        cited = CitedText("footnotes", self._numbers, self._file_url)
        rendered = cited.render(text, cited_sources(part, text, self._ids))
        self._footnotes |= cited.sources
        return rendered


def _call_block(call: Json) -> str:
    if call["type"] == "code_interpreter":
        return f"*Ran code:*\n\n{_fenced(call['input'], 'python')}"
    if call["type"] == "file_search":
        queries = ", ".join(f"“{_plain(str(query))}”" for query in call["queries"])
        return f"*Searched the files{' for ' + queries if queries else ''}*"
    block = f"*Called `{call['name']}`:*\n\n{_fenced(str(call['arguments'] or ''), 'json')}"
    return block if call["output"] is None else f"{block}\n\n*It answered:*\n\n{_fenced(call['output'])}"


def _fenced(text: str, language: str = "") -> str:
    fence = "```"
    # A fence inside the text must not end the block.
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("[", "(").replace("]", ")")


def _moment(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
