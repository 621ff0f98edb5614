"""Domain events: what happens in a run, independent of the upstream's events and of a client's protocol.

Objects inside events (`run`, `step`, `message`, `thread`, `annotation`) are JSON objects of the public wire
with every key, as `app/translate/objects.py` builds them. Encoders forward or pick from them and never build
their own. Producers keep this order: `ThreadCreated?`, `RunCreated` (or `StepEnded`, `RunResumed`),
`RunInProgress`, then steps one at a time, one message at a time inside a message step, then exactly one of
`RunEnded` or `StreamFailed`. A resumed stream may begin anywhere in that order.
"""

from typing import Any, Literal

import msgspec

from app.translate.failures import Failure

Json = dict[str, Any]
"""A JSON object of the public wire or of the upstream."""


class DomainEvent(msgspec.Struct, kw_only=True):
    """What all events share."""

    sequence: int | None = None
    """The `sequence_number` of the upstream event; set on the last domain event that it causes."""


class ThreadCreated(DomainEvent):
    """A new thread was created for this run."""

    thread: Json


class RunCreated(DomainEvent):
    """The run was accepted; its status is `queued`."""

    run: Json


class RunResumed(DomainEvent):
    """Tool outputs arrived and the run goes on, status `queued`. Takes the place of `RunCreated`."""

    run: Json


class RunInProgress(DomainEvent):
    """The model started to work on the run."""

    run: Json


class StepStarted(DomainEvent):
    """A step opened: `message_creation` or `tool_calls`, status `in_progress`."""

    step: Json


class ToolCallDelta(DomainEvent):
    """A tool call opened (`arguments` empty) or its input grew by `arguments`.

    `kind` is `function`, `code_interpreter` or `file_search`; `index` counts the calls of the step; only the
    first delta of a function has a `name`.
    """

    step_id: str
    index: int
    call_id: str
    kind: str
    name: str
    arguments: str


class ToolCallReady(DomainEvent):
    """The input of a call is complete. `call` is the step's whole tool call object."""

    step_id: str
    index: int
    call: Json


class ReasoningDelta(DomainEvent):
    """Part `index` of the summary of the model's reasoning grew by `text`; `item` counts the output items."""

    item: int
    index: int
    text: str


class HostedCall(DomainEvent):
    """A tool that the upstream runs itself has begun or ended; clients have nothing to answer.

    `status` is `in_progress`, `completed` or `failed`; `input` and `output` have the tool's own keys.
    """

    call_id: str
    name: str
    status: Literal["in_progress", "completed", "failed"]
    input: Json
    output: Json = {}


class StepEnded(DomainEvent):
    """A step reached a terminal state."""

    step: Json


class MessageStarted(DomainEvent):
    """The assistant's message opened, with empty content and status `in_progress`."""

    message: Json


class PictureAdded(DomainEvent):
    """The message got the picture `part` as its content part `index`, before any text."""

    message_id: str
    index: int
    part: Json


class TextDelta(DomainEvent):
    """The message's content part `index` grew by `text`."""

    message_id: str
    index: int
    text: str
    kind: Literal["text", "refusal"] = "text"
    is_commentary: bool = False
    """Whether the message tells what the model is about to do, and is not its answer."""

    is_first: bool = False
    """Whether the part begins with this text."""


class AnnotationAdded(DomainEvent):
    """Content part `index` got its annotation number `annotation_index`, in the Assistants shape.

    `source` is its flat form for chats: `{type, index, file_id?, filename?, url?, title?}`. The part grew by
    `text` with it.
    """

    message_id: str
    index: int
    annotation_index: int
    annotation: Json
    source: Json
    text: str = ""


class MessageEnded(DomainEvent):
    """The message ended: status `completed` or `incomplete`."""

    message: Json


class RunEnded(DomainEvent):
    """The run stopped: completed, failed, cancelled, expired, incomplete or requires_action.

    `messages` are the assistant's messages of this round, oldest first, without commentary. `sources` are
    their flat annotations, followed by those of the commentary.
    """

    run: Json
    messages: list[Json] = []
    sources: list[Json] = []
    failure: Failure | None = None
    """Why the run failed or expired."""


class StreamFailed(DomainEvent):
    """The stream ends without its run's end; `error` is the wire's `{message, type, param, code}`."""

    error: Json
