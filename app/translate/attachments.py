"""Files that belong to messages: as input of the model, and read back from what the upstream keeps.

A conversation item has no place for attachments. What the model can look at goes into the message's content;
which tools a file was given to is told in a last text part, which the model may read and clients do not see
as text. The file ids in it are those of the public wire, signed for their owner: written by a stranger, it
says nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.translate.events import Json
from app.utils.filenames import is_image
from app.utils.ids import BadIdError, IdCodec

RESOURCES_KEY = "soloist_resources"
MAX_RESOURCE_CHARS = 512
"""Longest value of conversation metadata upstream."""

CODE_INTERPRETER, FILE_SEARCH = "code_interpreter", "file_search"
_TOOLS = frozenset({CODE_INTERPRETER, FILE_SEARCH})
_NO_TOOL = "see above"
_HEAD = "[Attached files]"
_LINE = re.compile(r"- (\S+) \(([a-z_, ]*)\): (.*)\Z")
_SHORT = "file-"


@dataclass(frozen=True, slots=True)
class Attached:
    """An uploaded file that belongs to a message; `file_id` is the upstream's."""

    file_id: str
    filename: str
    tools: tuple[str, ...] = ()

    @property
    def is_seen(self) -> bool:
        """Whether the model itself gets the file: no tool was named, or no tool can read it."""
        return not self.tools or (is_image(self.filename) and CODE_INTERPRETER not in self.tools)

    def is_for(self, tool: str) -> bool:
        """Whether the tool gets the file."""
        return tool in self.tools and not (tool == FILE_SEARCH and is_image(self.filename))


def file_part(attached: Attached) -> Json:
    """Return the input part by which the model gets a file."""
    if is_image(attached.filename):
        return {"type": "input_image", "file_id": attached.file_id, "detail": "auto"}
    return {"type": "input_file", "file_id": attached.file_id}


def attachment_parts(files: Sequence[Attached], ids: IdCodec) -> list[Json]:
    """Return the content parts that a message's attachments add to it."""
    if not files:
        return []
    parts = [file_part(file) for file in files if file.is_seen]
    lines = [
        f"- {ids.file(file.file_id)} ({', '.join(file.tools) or _NO_TOOL}): {_line(file)}" for file in files
    ]
    return [*parts, {"type": "input_text", "text": "\n".join([_HEAD, *lines])}]


def with_files(item: Json, files: Sequence[Attached], ids: IdCodec) -> Json:
    """Return a user's input item with files added to it."""
    content = item.get("content")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else list(content or [])
    return {**item, "content": parts + attachment_parts(files, ids)}


def read_attachments(item: Json, ids: IdCodec) -> tuple[list[Json], list[Json], dict[str, str]]:
    """Return a message item's attachments, its other content parts, and files' names by public id."""
    parts: list[Json] = [part for part in item.get("content") or [] if isinstance(part, dict)]
    noted = _noted(parts[-1], ids) if parts and item.get("role") == "user" else []
    if not noted and not any("file_id" in part for part in parts):
        return [], parts, {}
    attachments = [_attachment(ids.file(file.file_id), file.tools) for file in noted]
    names = {ids.file(file.file_id): file.filename for file in noted}
    known = {file.file_id for file in noted}
    left = []
    for part in parts[:-1] if noted else parts:
        file_id = part.get("file_id")
        if part.get("type") == "input_file" and file_id and file_id not in known:
            attachments.append(_attachment(ids.file(str(file_id)), ()))
        elif file_id not in known or not file_id:
            left.append(part)
    return attachments, left, names


def _attachment(file_id: str, tools: Iterable[str]) -> Json:
    return {"file_id": file_id, "tools": [{"type": tool} for tool in tools]}


def _line(file: Attached) -> str:
    return " ".join(file.filename.split())


def _noted(part: Json, ids: IdCodec) -> list[Attached]:
    text = part.get("text")
    if part.get("type") != "input_text" or not isinstance(text, str) or not text.startswith(_HEAD + "\n"):
        return []
    found = []
    for line in text.split("\n")[1:]:
        match = _LINE.match(line)
        try:
            file_id, container_id = ids.upstream_file(match.group(1)) if match else ("", None)
        except BadIdError:
            return []
        if match is None or container_id is not None:
            return []
        tools = tuple(tool for tool in match.group(2).split(", ") if tool in _TOOLS)
        found.append(Attached(file_id, match.group(3), tools))
    return found


def resources_of(metadata: object) -> Json:
    """Return the thread's tool resources, with upstream ids, that conversation metadata remembers."""
    text = metadata.get(RESOURCES_KEY) if isinstance(metadata, Mapping) else None
    stores, _, files = str(text or "").partition("|")
    return thread_resources(
        [store for store in stores.split(",") if store], [_long(file) for file in files.split(",") if file]
    )


def thread_resources(store_ids: Sequence[str], file_ids: Sequence[str]) -> Json:
    """Return tool resources in the Assistants form; what is empty is left out."""
    resources: Json = {}
    if file_ids:
        resources[CODE_INTERPRETER] = {"file_ids": list(file_ids)}
    if store_ids:
        resources[FILE_SEARCH] = {"vector_store_ids": list(store_ids)}
    return resources


def store_ids_of(resources: Json) -> list[str]:
    """Return the vector stores among tool resources."""
    return list((resources.get(FILE_SEARCH) or {}).get("vector_store_ids") or [])


def file_ids_of(resources: Json) -> list[str]:
    """Return code interpreter's files among tool resources."""
    return list((resources.get(CODE_INTERPRETER) or {}).get("file_ids") or [])


def resources_metadata(resources: Json) -> dict[str, str]:
    """Return the metadata that remembers tool resources; raises `ValueError` where it would be too long."""
    files = ",".join(_brief(file_id) for file_id in file_ids_of(resources))
    text = f"{','.join(store_ids_of(resources))}|{files}"
    if len(text) > MAX_RESOURCE_CHARS:
        raise ValueError("too many files")
    return {RESOURCES_KEY: text}


def public_resources(resources: Json, ids: IdCodec) -> Json:
    """Return tool resources with the ids that clients know."""
    return thread_resources(store_ids_of(resources), [ids.file(each) for each in file_ids_of(resources)])


def _brief(file_id: str) -> str:
    return file_id.removeprefix(_SHORT) if file_id.startswith(_SHORT) else "~" + file_id


def _long(name: str) -> str:
    return name[1:] if name.startswith("~") else _SHORT + name


def named_files(resources: Any, key: str) -> list[str]:
    """Return the strings in a list of a client's `tool_resources`; raises `ValueError` for anything else."""
    found = resources.get(key) if isinstance(resources, dict) else None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise ValueError(f"'{key}' must be a list of ids")
    return found
