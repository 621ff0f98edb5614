"""Domain events: what happens in a run, in our own words, between the upstream's events and a protocol's.

Objects inside events (`run`, `step`, `message`, `thread`, `annotation`) are the public wire's JSON objects
with every key, as `app/translate/objects.py` builds them; encoders forward or pick from them and never build
their own. Order that every producer keeps: `ThreadCreated?`, `RunCreated` (or `StepEnded`, `RunResumed`),
`RunInProgress`, then steps one at a time, inside a message step one message at a time, then exactly one of
`RunEnded` or `StreamFailed`. A resumed stream may begin anywhere in that order.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
"""A JSON object of the public wire or of the upstream."""


@dataclass(slots=True)
class DomainEvent:
    """What all events share."""

    sequence: int | None = field(default=None, kw_only=True)
    """The upstream's `sequence_number`, set on the last domain event that one upstream event causes."""


@dataclass(slots=True)
class ThreadCreated(DomainEvent):
    """A new thread was made for this run."""

    thread: Json


@dataclass(slots=True)
class RunCreated(DomainEvent):
    """The run was accepted; its status is `queued`."""

    run: Json


@dataclass(slots=True)
class RunResumed(DomainEvent):
    """Tool outputs came in and the same run goes on, status `queued`. Stands where `RunCreated` would."""

    run: Json


@dataclass(slots=True)
class RunInProgress(DomainEvent):
    """The model works on the run."""

    run: Json


@dataclass(slots=True)
class StepStarted(DomainEvent):
    """A step opened: `message_creation` or `tool_calls`, status `in_progress`."""

    step: Json


@dataclass(slots=True)
class ToolCallDelta(DomainEvent):
    """A tool call opened (`name` set, `arguments` empty) or its input grew by `arguments`.

    `kind` is `function`, `code_interpreter` or `file_search`; `index` counts the calls inside the step;
    `name` is empty but for a function's first delta.
    """

    step_id: str
    index: int
    call_id: str
    kind: str
    name: str
    arguments: str


@dataclass(slots=True)
class ToolCallReady(DomainEvent):
    """A call's input is complete. `call` is the whole tool call object of the step."""

    step_id: str
    index: int
    call: Json


@dataclass(slots=True)
class StepEnded(DomainEvent):
    """A step reached a terminal state."""

    step: Json


@dataclass(slots=True)
class MessageStarted(DomainEvent):
    """The assistant's message opened, with empty content and status `in_progress`."""

    message: Json


@dataclass(slots=True)
class TextDelta(DomainEvent):
    """The message's content part `index` grew by `text`."""

    message_id: str
    index: int
    text: str
    kind: Literal["text", "refusal"] = "text"


@dataclass(slots=True)
class AnnotationAdded(DomainEvent):
    """Content part `index` got annotation number `annotation_index`; `annotation` has the Assistants shape.

    `source` is the chat surface's flat form of it: `{type, index, file_id?, filename?, url?, title?}`.
    """

    message_id: str
    index: int
    annotation_index: int
    annotation: Json
    source: Json


@dataclass(slots=True)
class MessageEnded(DomainEvent):
    """The message is whole: status `completed` or `incomplete`."""

    message: Json


@dataclass(slots=True)
class RunEnded(DomainEvent):
    """The run stopped: completed, failed, cancelled, expired, incomplete or requires_action.

    `messages` are the assistant's messages of this round, oldest first; `sources` the flat annotations over
    them.
    """

    run: Json
    messages: list[Json] = field(default_factory=list)
    sources: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class StreamFailed(DomainEvent):
    """The connection to the upstream broke for good; `error` is the wire's `{message, type, param, code}`."""

    error: Json
