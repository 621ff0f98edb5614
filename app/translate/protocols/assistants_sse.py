"""The Assistants event stream: named events that carry whole objects, as OpenAI's SDKs read them.

Source: OpenAI's Assistants streaming reference, and the state machines of openai-python and openai-node,
which concatenate deltas: an id, name or number that is sent twice would be doubled.
"""

from app.translate import events
from app.translate.events import Json
from app.translate.protocols.encoder import Encoder, data_frame, dump_json, event_frame, with_event_id

_MESSAGE_DELTA = (
    b"event: thread.message.delta\n"
    b'data: {"id":%b,"object":"thread.message.delta","delta":{"content":[{"index":%d,'
)
_TEXT = b'"type":"text","text":{"value":'
_REFUSAL = b'"type":"refusal","refusal":'
_TEXT_END = b"}}]}}\n\n"
_REFUSAL_END = b"}]}}\n\n"
_FINISHED_STEPS = frozenset({"completed", "failed", "cancelled", "expired"})


class AssistantsEncoder(Encoder):
    """Frames of `event: NAME` and `data: JSON`, ended by `done`.

    Args:
        with_ids: put `id: N` into the last frame of every event with a sequence number. Only for clients that
            resume: the streams of the SDKs break on it.

    """

    def __init__(self, *, with_ids: bool = False) -> None:
        self._with_ids = with_ids
        self._part: tuple[str, int, str] | None = None
        self._prefix = self._suffix = b""
        self._calls: set[str] = set()

    def encode(self, event: events.DomainEvent) -> bytes:
        """Return the frames of one event."""
        frames = self._text(event) if isinstance(event, events.TextDelta) else self._frames(event)
        return with_event_id(frames, event.sequence) if self._with_ids else frames

    def close(self) -> bytes:
        """Return the `done` event."""
        return b"event: done\ndata: [DONE]\n\n"

    def _text(self, event: events.TextDelta) -> bytes:
        part = (event.message_id, event.index, event.kind)
        if part != self._part:
            self._part = part
            opening, self._suffix = (_TEXT, _TEXT_END) if event.kind == "text" else (_REFUSAL, _REFUSAL_END)
            self._prefix = _MESSAGE_DELTA % (dump_json(event.message_id), event.index) + opening
            if event.kind == "text" and event.is_first:
                # SDKs build a part from its first delta.
                return self._prefix + dump_json(event.text) + b',"annotations":[]' + self._suffix
        return self._prefix + dump_json(event.text) + self._suffix

    def _frames(self, event: events.DomainEvent) -> bytes:
        match event:
            case events.ThreadCreated(thread=thread):
                return event_frame(b"thread.created", thread)
            case events.RunResumed(run=run):
                return event_frame(b"thread.run.queued", run)
            case events.RunCreated(run=run):
                return _twice(b"thread.run.created", b"thread.run.queued", run)
            case events.RunInProgress(run=run):
                return event_frame(b"thread.run.in_progress", run)
            case events.StepStarted(step=step):
                return _twice(b"thread.run.step.created", b"thread.run.step.in_progress", step)
            case events.ToolCallDelta():
                return self._tool_call(event)
            case events.ToolCallReady(call={"type": "code_interpreter"}):
                return _code_outputs(event)
            case events.ToolCallReady(call={"type": "function"}) if (
                self._with_ids and event.sequence is not None
            ):
                return self._call_mark(event)
            case events.StepEnded(step=step):
                status = step["status"] if step["status"] in _FINISHED_STEPS else "failed"
                return event_frame(b"thread.run.step." + status.encode(), step)
            case events.MessageStarted(message=message):
                return _twice(b"thread.message.created", b"thread.message.in_progress", message)
            case events.PictureAdded():
                return _content_delta(event.message_id, {"index": event.index, **event.part})
            case events.AnnotationAdded():
                return _annotation(event)
            case events.MessageEnded(message=message):
                ending = b"completed" if message["status"] == "completed" else b"incomplete"
                return event_frame(b"thread.message." + ending, message)
            case events.RunEnded(run=run):
                return event_frame(b"thread.run." + run["status"].encode(), run)
            case events.StreamFailed(error=error):
                return b"event: error\n" + data_frame({"error": error})
        return b""

    def _tool_call(self, event: events.ToolCallDelta) -> bytes:
        call: Json = {"index": event.index}
        opens = bool(event.name) or not event.arguments
        if opens and event.call_id not in self._calls:
            self._calls.add(event.call_id)
            call["id"] = event.call_id
        call["type"] = event.kind
        if event.kind == "function":
            # SDKs add later deltas to the first one, which has all keys therefore.
            first: Json = {"name": event.name, "output": None} if event.name else {}
            call["function"] = {**first, "arguments": event.arguments}
        elif event.kind == "code_interpreter":
            first = {"outputs": []} if "id" in call else {}
            call["code_interpreter"] = {"input": event.arguments, **first}
        else:
            call[event.kind] = {}
        return _step_delta(event.step_id, call)

    def _call_mark(self, event: events.ToolCallReady) -> bytes:
        # An empty delta carries the id; without it, a client would resume before arguments that it has.
        self._calls.add(event.call["id"])
        return self._tool_call(
            events.ToolCallDelta(event.step_id, event.index, event.call["id"], "function", "", "")
        )


def _step_delta(step_id: str, call: Json) -> bytes:
    details = {"type": "tool_calls", "tool_calls": [call]}
    delta = {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}
    return event_frame(b"thread.run.step.delta", delta)


def _code_outputs(event: events.ToolCallReady) -> bytes:
    outputs = event.call["code_interpreter"]["outputs"]
    if not outputs:
        return b""
    numbered = [{"index": number, **output} for number, output in enumerate(outputs)]
    kind = "code_interpreter"
    return _step_delta(event.step_id, {"index": event.index, "type": kind, kind: {"outputs": numbered}})


def _annotation(event: events.AnnotationAdded) -> bytes:
    annotation = {"index": event.annotation_index, **event.annotation}
    # Some clients drop an annotation that comes without its text.
    grown = {"value": event.text} if event.text else {}
    part = {"index": event.index, "type": "text", "text": {**grown, "annotations": [annotation]}}
    return _content_delta(event.message_id, part)


def _content_delta(message_id: str, part: Json) -> bytes:
    delta = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
    return event_frame(b"thread.message.delta", delta)


def _twice(first: bytes, second: bytes, value: Json) -> bytes:
    data = b"\n" + data_frame(value)
    return b"event: " + first + data + b"event: " + second + data
