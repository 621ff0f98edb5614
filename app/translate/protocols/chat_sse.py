"""The stream of `/chat`, a few plain events that read well in a terminal, and its JSON answer."""

from app.translate import events
from app.translate.events import Json
from app.translate.protocols.encoder import (
    Encoder,
    Paragraphs,
    answer_text,
    dump_json,
    event_frame,
    run_error,
    usage_counts,
    with_event_id,
)

_CUT_OFF = frozenset({"cancelled", "expired"})


class ChatEncoder(Encoder):
    """Events `thread`, `delta`, `annotation`, then `done` with the whole JSON answer, or `error`.

    The `delta` texts add up to the answer's `message`. What the model says and does before it comes as
    `commentary`, `reasoning` and `tool`, pictures as `picture`. Frames of events with a sequence number have
    an `id: N`.
    """

    def __init__(self) -> None:
        self._paragraphs = Paragraphs()

    def encode(self, event: events.DomainEvent) -> bytes:
        """Return the frame of one event, or nothing."""
        if isinstance(event, events.TextDelta) and not event.is_commentary:
            # Written by hand: this runs for every token.
            mark = b"" if event.sequence is None else b"id: %d\n" % event.sequence
            return b'%bevent: delta\ndata: {"text":%b}\n\n' % (mark, dump_json(self._paragraphs.text(event)))
        frame = self._frame(event)
        return with_event_id(frame, event.sequence) if frame else b""

    def _frame(self, event: events.DomainEvent) -> bytes:
        match event:
            case events.RunCreated(run=run) | events.RunResumed(run=run):
                return event_frame(b"thread", {"thread_id": run["thread_id"], "run_id": run["id"]})
            case events.TextDelta(text=text):
                return event_frame(b"commentary", {"text": text})
            case events.ReasoningDelta(text=text):
                return event_frame(b"reasoning", {"text": text})
            case events.HostedCall():
                return event_frame(b"tool", _tool(event))
            case events.PictureAdded(part=part):
                return event_frame(b"picture", {"file_id": part["image_file"]["file_id"]})
            case events.AnnotationAdded(source=source):
                return event_frame(b"annotation", source)
            case events.RunEnded(run=run) if run["status"] == "failed":
                return event_frame(b"error", {"error": run_error(event)})
            case events.RunEnded():
                return event_frame(b"done", chat_answer(event))
            case events.StreamFailed(error=error):
                return event_frame(b"error", {"error": error})
        return b""


def _tool(event: events.HostedCall) -> Json:
    shown: Json = {"id": event.call_id, "name": event.name, "status": event.status, "input": event.input}
    return {**shown, "output": event.output} if event.output else shown


def _chat_call(call: Json) -> Json:
    approval = {"approval": call["approval"]} if "approval" in call else {}
    return {"id": call["id"], **call["function"], **approval}


def chat_answer(ended: events.RunEnded) -> Json:
    """Return the JSON answer of `/chat` for a run that ended in any state but `failed`.

    Keys: `message, thread_id, role, created_at, run_id, message_id, status, annotations, usage`; with the
    status `requires_action` also `tool_calls`, a list of `{id, name, arguments, approval?}`; and `pictures`,
    a list of file ids, if the assistant made any.
    """
    run, messages = ended.run, ended.messages
    # A cut-off answer gets another id when it is kept.
    is_kept = bool(messages) and run["status"] not in _CUT_OFF
    answer: Json = {
        "message": answer_text(messages),
        "thread_id": run["thread_id"],
        "role": "assistant",
        "created_at": messages[-1]["created_at"] if messages else run["created_at"],
        "run_id": run["id"],
        "message_id": messages[-1]["id"] if is_kept else None,
        "status": run["status"],
        "annotations": ended.sources,
        "usage": usage_counts(run),
    }
    if ended.pictures:
        answer["pictures"] = ended.pictures
    if run["status"] == "requires_action":
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        answer["tool_calls"] = [_chat_call(call) for call in calls]
    return answer
