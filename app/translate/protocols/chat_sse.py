"""The chat surface's own stream, a few plain events that read well in a terminal, and its JSON answer."""

from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    Json,
    RunCreated,
    RunEnded,
    RunResumed,
    StreamFailed,
    TextDelta,
)
from app.translate.protocols.encoder import (
    EventStreamEncoder,
    Paragraphs,
    answer_text,
    dump_json,
    event_frame,
    run_error,
    usage_counts,
    with_event_id,
)


class ChatEncoder(EventStreamEncoder):
    """Events `thread`, `delta`, `annotation`, then `done` with the whole JSON answer, or `error`.

    All `delta` texts together are the answer's `message`. Frames carry `id: N` where the event has a sequence
    number.
    """

    def __init__(self) -> None:
        self._paragraphs = Paragraphs()

    def encode(self, event: DomainEvent) -> bytes:
        """Return the frame of one event, or nothing."""
        if isinstance(event, TextDelta):
            mark = b"" if event.sequence is None else b"id: %d\n" % event.sequence
            return b'%bevent: delta\ndata: {"text":%b}\n\n' % (mark, dump_json(self._paragraphs.text(event)))
        frame = self._frame(event)
        return with_event_id(frame, event.sequence) if frame else b""

    def _frame(self, event: DomainEvent) -> bytes:
        match event:
            case RunCreated(run=run) | RunResumed(run=run):
                return event_frame(b"thread", {"thread_id": run["thread_id"], "run_id": run["id"]})
            case AnnotationAdded(source=source):
                return event_frame(b"annotation", source)
            case RunEnded(run=run) if run["status"] == "failed":
                return event_frame(b"error", {"error": run_error(run)})
            case RunEnded():
                return event_frame(b"done", chat_answer(event))
            case StreamFailed(error=error):
                return event_frame(b"error", {"error": error})
        return b""


def chat_answer(ended: RunEnded) -> Json:
    """Return the chat surface's JSON answer for a run that ended in any state but `failed`.

    Keys: `message, thread_id, role, created_at, run_id, status, annotations, usage`, and `tool_calls` with
    `{id, name, arguments}` each only where the status is `requires_action`.
    """
    run = ended.run
    answer: Json = {
        "message": answer_text(ended.messages),
        "thread_id": run["thread_id"],
        "role": "assistant",
        "created_at": ended.messages[-1]["created_at"] if ended.messages else run["created_at"],
        "run_id": run["id"],
        "status": run["status"],
        "annotations": ended.sources,
        "usage": usage_counts(run),
    }
    if run["status"] == "requires_action":
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        answer["tool_calls"] = [{"id": call["id"], **_function(call)} for call in calls]
    return answer


def _function(call: Json) -> Json:
    return {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
