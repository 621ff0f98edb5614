"""The AG-UI event stream, as `@ag-ui/client` and CopilotKit read it.

Source: the event schemas and `verifyEvents` of the npm packages `@ag-ui/core` and `@ag-ui/client` 1.0.
Optional fields are left out rather than null, nothing follows the terminal event, and there is no `[DONE]`.
"""

from app.translate import events
from app.translate.events import Json
from app.translate.protocols.encoder import PARAGRAPH, Encoder, data_frame, dump_json, run_error, usage_counts


class AgUiEncoder(Encoder):
    """`RUN_STARTED`, reasoning, text messages and tool calls, then `RUN_FINISHED` or `RUN_ERROR`.

    Calls of tools that the upstream or the service runs come at their end, each with its result.

    The `result` of `RUN_FINISHED` is our own `{thread_id, run_id, status, usage?}`, which a client needs to
    continue the thread.

    Args:
        thread_id: the client's own `threadId`, echoed.
        run_id: the client's own `runId`, echoed.

    """

    def __init__(self, thread_id: str, run_id: str) -> None:
        self._ids = {"threadId": thread_id, "runId": run_id}
        self._started = False
        self._message_id = ""
        self._index: int | None = None
        self._prefix = self._message_end = b""
        self._open_calls: set[str] = set()

    def encode(self, event: events.DomainEvent) -> bytes:
        """Return the AG-UI events of one domain event."""
        if isinstance(event, events.TextDelta):
            return self._text(event)
        match event:
            case events.RunCreated() | events.RunResumed() | events.RunInProgress():
                return self._start()
            case events.ReasoningDelta(text=text) if text:
                return self._reasoning(f"reasoning-{event.item}", event.index, text)
            case events.MessageEnded():
                return self._end_message()
            case events.HostedCall(status=status) if status != "in_progress":
                return self._start() + self._end_message() + _hosted(event)
            case events.ToolCallDelta(kind="function"):
                return self._call_delta(event)
            case events.ToolCallReady(call={"type": "function"}):
                return self._call_ready(event.step_id, event.call)
            case events.RunEnded():
                return self._start() + self._end_message() + self._ending(event)
            case events.StreamFailed(error=error):
                return self._start() + self._end_message() + _error(error)
        return b""

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return data_frame({"type": "RUN_STARTED", **self._ids})

    def _text(self, event: events.TextDelta) -> bytes:
        # Clients before 1.0 refuse an empty delta.
        if not event.text:
            return b""
        if event.is_commentary:
            # What the model says while it works is shown where clients show its reasoning.
            return self._reasoning(event.message_id, event.index, event.text)
        opening = b"" if event.message_id == self._message_id else self._start_text(event.message_id)
        return opening + self._content(event.index, event.text)

    def _reasoning(self, message_id: str, index: int, text: str) -> bytes:
        opening = b"" if message_id == self._message_id else self._start_reasoning(message_id)
        return opening + self._content(index, text)

    def _content(self, index: int, text: str) -> bytes:
        if index != self._index:
            text = PARAGRAPH + text if self._index is not None else text
            self._index = index
        return self._prefix + dump_json(text) + b"}\n\n"

    def _start_text(self, message_id: str) -> bytes:
        opening = self._open("TEXT_MESSAGE", message_id)
        self._message_end = data_frame({"type": "TEXT_MESSAGE_END", "messageId": message_id})
        return opening + data_frame(
            {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
        )

    def _start_reasoning(self, message_id: str) -> bytes:
        opening = self._open("REASONING_MESSAGE", message_id)
        named = {"messageId": message_id}
        self._message_end = data_frame({"type": "REASONING_MESSAGE_END", **named})
        self._message_end += data_frame({"type": "REASONING_END", **named})
        start = {"type": "REASONING_MESSAGE_START", **named, "role": "reasoning"}
        return opening + data_frame({"type": "REASONING_START", **named}) + data_frame(start)

    def _open(self, kind: str, message_id: str) -> bytes:
        """Close what is open, and prepare the deltas of a new message."""
        opening = self._start() + self._end_message()
        self._message_id, self._index = message_id, None
        quoted = dump_json(message_id)
        self._prefix = b'data: {"type":"%b_CONTENT","messageId":%b,"delta":' % (kind.encode(), quoted)
        return opening

    def _end_message(self) -> bytes:
        if not self._message_id:
            return b""
        self._message_id = ""
        return self._message_end

    def _call_delta(self, event: events.ToolCallDelta) -> bytes:
        opening = b""
        if event.name and event.call_id not in self._open_calls:
            opening = self._start() + self._end_message()
            opening += self._start_call(event.step_id, event.call_id, event.name)
        if not event.arguments or event.call_id not in self._open_calls:
            return opening
        return opening + _arguments(event.call_id, event.arguments)

    def _call_ready(self, step_id: str, call: Json) -> bytes:
        call_id, function = call["id"], call["function"]
        opening = b""
        if call_id not in self._open_calls:
            opening = self._start() + self._end_message()
            opening += self._start_call(step_id, call_id, function["name"])
            opening += _arguments(call_id, function["arguments"]) if function["arguments"] else b""
        self._open_calls.discard(call_id)
        return opening + data_frame({"type": "TOOL_CALL_END", "toolCallId": call_id})

    def _start_call(self, step_id: str, call_id: str, name: str) -> bytes:
        self._open_calls.add(call_id)
        # With one step as parent, parallel calls stay in one message and their results follow it together.
        call = {"toolCallId": call_id, "toolCallName": name, "parentMessageId": step_id}
        return data_frame({"type": "TOOL_CALL_START", **call})

    def _ending(self, ended: events.RunEnded) -> bytes:
        run = ended.run
        status = run["status"]
        if status in {"failed", "expired"}:
            return _error(run_error(ended))
        if status == "cancelled":
            # 1.0 has an outcome for this, which clients just before it refuse; all of them know an error.
            return _error({"message": "The run was cancelled.", "code": "cancelled"})
        cut = b"".join(map(_cut_call, sorted(self._open_calls)))
        usage = usage_counts(run)
        result = {"thread_id": run["thread_id"], "run_id": run["id"], "status": status}
        result.update({"usage": usage} if usage else {})
        return cut + data_frame({"type": "RUN_FINISHED", **self._ids, "result": result})


def _arguments(call_id: str, fragment: str) -> bytes:
    return data_frame({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": fragment})


def _hosted(event: events.HostedCall) -> bytes:
    """Return a call that is not the client's, with its result: clients run a call that has none."""
    call_id = event.call_id
    start = {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": event.name}
    content = "The tool failed." if event.status == "failed" else _content_of(event.output)
    result = {"messageId": f"{call_id}-result", "toolCallId": call_id, "role": "tool", "content": content}
    return b"".join(
        (
            data_frame(start),
            _arguments(call_id, dump_json(event.input).decode()),
            data_frame({"type": "TOOL_CALL_END", "toolCallId": call_id}),
            data_frame({"type": "TOOL_CALL_RESULT", **result}),
        )
    )


def _content_of(output: Json) -> str:
    found = output.get("output")
    return found if isinstance(found, str) else dump_json(output).decode()


def _cut_call(call_id: str) -> bytes:
    """End a call whose arguments were cut off, with a result: clients run a call that has none."""
    result = {"messageId": f"{call_id}-result", "toolCallId": call_id, "role": "tool"}
    return data_frame({"type": "TOOL_CALL_END", "toolCallId": call_id}) + data_frame(
        {"type": "TOOL_CALL_RESULT", **result, "content": "The call was cut off and not carried out."}
    )


def _error(error: Json) -> bytes:
    coded = {"code": error["code"]} if error.get("code") else {}
    return data_frame({"type": "RUN_ERROR", "message": error["message"], **coded})
