"""What a responder is given and what it may yield."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.embedded.items import parts_of, text_of
from app.embedded.wire import Json

_NOTE = "[Attached files]\n"


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Some more text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation of the text so far, as it stands on the wire."""

    body: Json


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole sentence in which the model refuses."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A function call opens."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """Some more JSON text of the open call's arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The open call is complete."""


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A finished `file_search_call`, `code_interpreter_call` or `reasoning`, without its id and status."""

    prefix: str
    body: Json


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The answer stops here, unfinished."""

    reason: str


Piece = TextDelta | Annotation | Refusal | CallStart | CallArguments | CallEnd | HostedTool | Incomplete


class ResponderError(Exception):
    """The model failed: becomes a response of status failed with this code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a file that matches a question."""

    file_id: str
    filename: str
    text: str
    score: float
    """Relevance between 0 and 1."""

    def result(self) -> Json:
        """The hit as a result of a `file_search_call`."""
        found = {"file_id": self.file_id, "filename": self.filename, "text": self.text, "score": self.score}
        return {**found, "attributes": {}}


class Resources(Protocol):
    """What a responder may reach beside the thread: attached files and a container for what it makes."""

    async def search_files(
        self, query: str, file_ids: Sequence[str], vector_store_ids: Sequence[str], limit: int
    ) -> list[Hit]:
        """Passages that match, best first."""

    async def filenames(self, file_ids: Sequence[str]) -> dict[str, str]:
        """Names of the files that exist, by id."""

    async def make_file(self, filename: str, content: bytes) -> tuple[str, str]:
        """Put a file into a fresh container; container id and file id."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request to answer."""

    model: str
    """As the request names it."""
    instructions: str | None
    items: list[Json]
    """The whole thread, the new input last."""
    fresh: list[Json]
    """The new input alone."""
    tools: list[Json]
    tool_choice: str | Json
    max_output_tokens: int | None
    parallel_tool_calls: bool
    resources: Resources

    @property
    def prompt(self) -> str:
        """Text of the last user message, empty if there is none."""
        for item in reversed(self.items):
            if item["type"] == "message" and item["role"] == "user":
                # What a client notes of attached files in a part of its own is no question.
                parts = [part for part in item["content"] if not _is_note(part)]
                return text_of({"content": parts})
        return ""

    def has_tool(self, kind: str) -> bool:
        """Whether the request offers a hosted tool of this type."""
        return any(tool.get("type") == kind for tool in self.tools)

    def attached_file_ids(self) -> list[str]:
        """Files named by the thread's messages and by code interpreter's container, latest first."""
        found: dict[str, None] = {}
        for item in reversed(self.items):
            for part in parts_of(item):
                if part.get("type") == "input_file" and part.get("file_id"):
                    found[part["file_id"]] = None
        for tool in self.tools:
            container = tool.get("container")
            if isinstance(container, dict):
                found.update(dict.fromkeys(container.get("file_ids") or []))
        return list(found)

    def fresh_file_ids(self) -> list[str]:
        """Files that the new input names."""
        parts = (part for item in self.fresh for part in parts_of(item))
        return list(dict.fromkeys(part["file_id"] for part in parts if part.get("file_id")))

    def vector_store_ids(self) -> list[str]:
        """Vector stores that file search may read."""
        return [
            store
            for tool in self.tools
            if tool.get("type") == "file_search"
            for store in tool.get("vector_store_ids") or []
        ]


def _is_note(part: Json) -> bool:
    return str(part.get("text") or "").startswith(_NOTE)


class Responder(Protocol):
    """A model, or what stands for one."""

    @property
    def model(self) -> str:
        """The model id that responses carry and `/v1/models` lists."""

    def answer(self, turn: Turn) -> AsyncGenerator[Piece, None]:
        """The answer in pieces; closing the iterator stops the work. May raise ResponderError."""
