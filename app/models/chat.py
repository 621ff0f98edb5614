"""The chat surface: one message in, one answer out."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from app.models.common import RequestModel, Text, Usage, example
from app.models.runs import OnDisconnect, RunStatus, ToolOutput

HAS_FILES = "has_files"
"""Key of the validation context: true for a turn that brings files along, which needs no message."""
# What frontends send with `messages` beside it, and what asks for nothing.
_FRONTEND_KEYS = {"id", "trigger", "messageId", "threadId", "parentId", "unstable_assistantMessageId"}
_AG_UI_KEYS = {"state", "tools", "context", "parentRunId", "resume"}


class ChatRequest(RequestModel):
    """A chat turn: `message`, or `tool_outputs` for a run that waits, or a whole history in `messages`.

    `messages` speaks the AI SDK, react-data-stream and deep-chat dialects and answers in the AI SDK's stream.
    """

    model_config = example(message="Hello")
    message: Text | None = Field(None, description="What the user says.", examples=["Hello"])
    thread_id: str | None = Field(None, description="Go on with this thread; absent: a new one.")
    stream: bool | None = Field(None, description="Answer as server-sent events.")
    on_disconnect: OnDisconnect = None
    run_id: str | None = Field(None, description="The run that `tool_outputs` answer.")
    tool_outputs: list[ToolOutput] | None = Field(None, min_length=1, max_length=128)
    messages: list[dict[str, Any]] | None = Field(
        None, description="A history of UI messages; see docs/streaming.md."
    )
    replaces: str | None = Field(
        None,
        description="A message of the thread: its turn (question and answer) and all that follows are "
        "deleted, and `message` is asked instead, with the old question's files unless it brings some; "
        "without a message, the old question is asked again. "
        "If nothing is answered, the thread is as before.",
    )

    @field_validator("replaces")
    @classmethod
    def _in_a_thread(cls, replaces: str | None, info: ValidationInfo) -> str | None:
        if replaces and info.data.get("tool_outputs") is not None:
            raise ValueError("send 'replaces' or 'tool_outputs', not both")
        if replaces and not info.data.get("thread_id"):
            raise ValueError("'replaces' needs the 'thread_id' of its message")
        return replaces or None

    @property
    def regenerates(self) -> bool:
        """Whether the AI SDK asks for another answer in a thread, in the place of an earlier one."""
        trigger = (self.__pydantic_extra__ or {}).get("trigger")
        return self.messages is not None and self.thread_id is not None and trigger == "regenerate-message"

    @property
    def frontend_message_id(self) -> str | None:
        """The message that the AI SDK's request is about, if it names one."""
        found = (self.__pydantic_extra__ or {}).get("messageId")
        return found if isinstance(found, str) and found else None

    def unknown_fields(self) -> list[str]:
        """Return the names of the fields that this service does not take, but for a frontend's own."""
        own = _FRONTEND_KEYS if self.messages is not None else set()
        return [name for name in super().unknown_fields() if name not in own]

    @model_validator(mode="after")
    def _one_kind(self, info: ValidationInfo) -> Self:
        # Scripts send what they have, and before the first answer that is an empty string.
        if self.thread_id == "":
            self.thread_id = None
        given = [name for name in ("message", "tool_outputs", "messages") if getattr(self, name) is not None]
        if not given and self.replaces is None and not (info.context or {}).get(HAS_FILES):
            raise ValueError("send 'message', 'messages' or 'tool_outputs'")
        if len(given) > 1:
            raise ValueError(f"send '{given[0]}' or '{given[1]}', not both")
        if self.tool_outputs is not None and not (self.thread_id and self.run_id):
            raise ValueError("'tool_outputs' need the 'thread_id' and 'run_id' that the answer gave")
        return self


class Source(BaseModel):
    """Where a piece of the answer comes from."""

    type: str = Field(description="file_citation, url_citation or file_path.")
    index: int = Field(description="Character position in the message that the source backs up.")
    file_id: str | None = None
    filename: str | None = None
    url: str | None = None
    title: str | None = None


class ToolCall(BaseModel):
    """A function that the model asks the client to carry out."""

    id: str
    name: str
    arguments: str = Field(description="A JSON object as text.")


class ChatAnswer(BaseModel):
    """The whole answer."""

    message: str
    thread_id: str
    role: Literal["assistant"]
    created_at: int
    run_id: str
    message_id: str | None = Field(
        description="The last message of the answer, which `replaces` may name; null if the thread has none."
    )
    status: RunStatus
    annotations: list[Source]
    usage: Usage | None
    tool_calls: list[ToolCall] | None = Field(None, description="Only where status is requires_action.")
    pictures: list[str] | None = Field(None, description="Ids of picture files, if the assistant made any.")


class AgUiRequest(RequestModel):
    """AG-UI's run input; its other keys are ignored."""

    threadId: str = Field(min_length=1)  # noqa: N815 - AG-UI's name
    runId: str = Field(min_length=1)  # noqa: N815 - AG-UI's name
    messages: list[dict[str, Any]] = Field(min_length=1)
    forwardedProps: dict[str, Any] | None = None  # noqa: N815 - AG-UI's name

    def unknown_fields(self) -> list[str]:
        """Return the names of the fields that are not AG-UI's."""
        return [name for name in super().unknown_fields() if name not in _AG_UI_KEYS]
