"""Files attached to messages: written for the model, and read back from conversation items.

A conversation item has no field for attachments. Files that the model can read become content parts. A last
text part lists all files with their tools; the model may read it, and clients do not get it as text. Its file
ids are public ids, signed for their owner, so that nobody can attach a foreign file by writing such a part.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.translate.events import Json
from app.translate.inline_files import inline_parts
from app.utils.filenames import is_image
from app.utils.ids import BadIdError, IdCodec

RESOURCES_KEY = "soloist_resources"
MAX_RESOURCE_CHARS = 512
"""The upstream's limit for a metadata value."""

CODE_INTERPRETER, FILE_SEARCH = "code_interpreter", "file_search"
_TOOLS = frozenset({CODE_INTERPRETER, FILE_SEARCH})
_NO_TOOL = "see above"
_HEAD = "[Attached files]"
_LINE = re.compile(r"- (\S+) \(([a-z_, ]*)\): (.*)\Z")
_SHORT = "file-"


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that is attached to a message; `file_id` is the upstream id.

    A file that the upstream has no place for has its `content` here, and no id.
    """

    file_id: str
    filename: str
    tools: tuple[str, ...] = ()
    content: bytes | None = field(default=None, repr=False)

    @property
    def is_seen(self) -> bool:
        """Whether the model gets the file as input: no tool is named, or none of the tools can read it."""
        return not self.tools or (is_image(self.filename) and CODE_INTERPRETER not in self.tools)

    def is_for(self, tool: str) -> bool:
        """Whether the tool gets the file."""
        return tool in self.tools and not (tool == FILE_SEARCH and is_image(self.filename))


def _file_part(attached: Attached) -> Json:
    if is_image(attached.filename):
        return {"type": "input_image", "file_id": attached.file_id, "detail": "auto"}
    return {"type": "input_file", "file_id": attached.file_id}


def attachment_parts(files: Sequence[Attached], ids: IdCodec) -> list[Json]:
    """Return the content parts for the attachments of a message."""
    passed = [part for file in files if file.content for part in inline_parts(file.filename, file.content)]
    files = [file for file in files if not file.content]
    if not files:
        return passed
    parts = [*passed, *(_file_part(file) for file in files if file.is_seen)]
    lines = [
        # A line break in a filename would end its line.
        f"- {ids.file(file.file_id)} ({', '.join(file.tools) or _NO_TOOL}): {' '.join(file.filename.split())}"
        for file in files
    ]
    return [*parts, {"type": "input_text", "text": "\n".join([_HEAD, *lines])}]


def with_files(item: Json, files: Sequence[Attached], ids: IdCodec) -> Json:
    """Return a user's input item with attachments added."""
    return {**item, "content": [*(item.get("content") or []), *attachment_parts(files, ids)]}


def read_attachments(item: Json, ids: IdCodec) -> tuple[list[Json], list[Json], dict[str, str]]:
    """Return the attachments of a message item, its other content parts, and filenames by public id."""
    parts: list[Json] = [part for part in item.get("content") or [] if isinstance(part, dict)]
    # Only in a user's message: an assistant may repeat what it has read.
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


def is_file_list(part: Json) -> bool:
    """Return whether a content part is the text that lists a message's files."""
    text = part.get("text")
    return part.get("type") == "input_text" and isinstance(text, str) and text.startswith(_HEAD + "\n")


def message_file_ids(item: Json, ids: IdCodec) -> set[str]:
    """Return the upstream ids of the files that came with a user's message, for tools or for the model."""
    if item.get("role") != "user":
        return set()
    parts: list[Json] = [part for part in item.get("content") or [] if isinstance(part, dict)]
    noted = _noted(parts[-1], ids) if parts else []
    seen = {str(part["file_id"]) for part in parts if part.get("file_id")}
    return seen | {file.file_id for file in noted}


def _attachment(file_id: str, tools: Iterable[str]) -> Json:
    return {"file_id": file_id, "tools": [{"type": tool} for tool in tools]}


def _noted(part: Json, ids: IdCodec) -> list[Attached]:
    if not is_file_list(part):
        return []
    found = []
    for line in part["text"].split("\n")[1:]:
        match = _LINE.match(line)
        try:
            file_id, container_id = ids.upstream_file(match.group(1)) if match else ("", None)
        except BadIdError:
            return []
        # Any line that does not fit means that a user wrote this text: then it is shown as it is.
        if match is None or container_id is not None:
            return []
        tools = tuple(tool for tool in match.group(2).split(", ") if tool in _TOOLS)
        found.append(Attached(file_id, match.group(3), tools))
    return found


def resources_of(metadata: object) -> Json:
    """Return the tool resources in conversation metadata, with upstream ids."""
    text = metadata.get(RESOURCES_KEY) if isinstance(metadata, Mapping) else None
    stores, _, files = str(text or "").partition("|")
    return thread_resources(
        [store for store in stores.split(",") if store], [_long(file) for file in files.split(",") if file]
    )


def thread_resources(store_ids: Sequence[str], file_ids: Sequence[str]) -> Json:
    """Return tool resources in the Assistants form, without empty ones."""
    resources: Json = {}
    if file_ids:
        resources[CODE_INTERPRETER] = {"file_ids": list(file_ids)}
    if store_ids:
        resources[FILE_SEARCH] = {"vector_store_ids": list(store_ids)}
    return resources


def store_ids_of(resources: Json) -> list[str]:
    """Return the vector store ids in tool resources."""
    return list((resources.get(FILE_SEARCH) or {}).get("vector_store_ids") or [])


def file_ids_of(resources: Json) -> list[str]:
    """Return the file ids for code interpreter in tool resources."""
    return list((resources.get(CODE_INTERPRETER) or {}).get("file_ids") or [])


def resources_metadata(resources: Json) -> dict[str, str]:
    """Return tool resources as metadata; raises `ValueError` if that is over `MAX_RESOURCE_CHARS`."""
    files = ",".join(_brief(file_id) for file_id in file_ids_of(resources))
    text = f"{','.join(store_ids_of(resources))}|{files}"
    if len(text) > MAX_RESOURCE_CHARS:
        raise ValueError("too many files")
    return {RESOURCES_KEY: text}


def public_resources(resources: Json, ids: IdCodec) -> Json:
    """Return tool resources with public ids."""
    return thread_resources(store_ids_of(resources), [ids.file(each) for each in file_ids_of(resources)])


# Metadata values are short, so ids are stored without their usual prefix; `~` marks one without it.
def _brief(file_id: str) -> str:
    return file_id.removeprefix(_SHORT) if file_id.startswith(_SHORT) else "~" + file_id


def _long(name: str) -> str:
    return name[1:] if name.startswith("~") else _SHORT + name


def named_files(resources: Any, key: str) -> list[str]:
    """Return the ids under `key` in a client's `tool_resources`; raises `ValueError` for anything else."""
    found = resources.get(key) if isinstance(resources, dict) else None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise ValueError(f"'{key}' must be a list of ids")
    return found
