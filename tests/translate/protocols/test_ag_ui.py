"""Exact frames of the AG-UI event stream."""

from typing import Any

import pytest

from app.translate.events import (
    DomainEvent,
    MessageEnded,
    MessageStarted,
    RunCreated,
    RunEnded,
    RunInProgress,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallReady,
)
from app.translate.failures import EXPIRED, failure_for
from app.translate.protocols.ag_ui import AgUiEncoder

STARTED = b'data: {"type":"RUN_STARTED","threadId":"t-1","runId":"r-1"}\n\n'
MESSAGE_START = b'data: {"type":"TEXT_MESSAGE_START","messageId":"msg_1","role":"assistant"}\n\n'
MESSAGE_END = b'data: {"type":"TEXT_MESSAGE_END","messageId":"msg_1"}\n\n'


def content(delta: bytes) -> bytes:
    return b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_1","delta":"%b"}\n\n' % delta


def finished(status: bytes, usage: bytes = b"") -> bytes:
    return (
        b'data: {"type":"RUN_FINISHED","threadId":"t-1","runId":"r-1",'
        b'"result":{"thread_id":"thread_1","run_id":"run_1","status":"%b"%b}}\n\n' % (status, usage)
    )


def run(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "run_1", "thread_id": "thread_1", "status": status, "usage": None, **more}


def encode(*events: DomainEvent) -> bytes:
    encoder = AgUiEncoder("t-1", "r-1")
    return b"".join(encoder.encode(event) for event in events) + encoder.close()


def function(call_id: str, name: str, arguments: str) -> ToolCallReady:
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments, "output": None},
    }
    return ToolCallReady("step_1", 0, call)


def call_start(call_id: bytes, name: bytes) -> bytes:
    return (
        b'data: {"type":"TOOL_CALL_START","toolCallId":"%b","toolCallName":"%b",'
        b'"parentMessageId":"step_1"}\n\n' % (call_id, name)
    )


def test_whole_answer_in_order():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    frames = encode(
        RunCreated(run("queued")),
        RunInProgress(run("in_progress")),
        MessageStarted({"id": "msg_1"}),
        TextDelta("msg_1", 0, ""),
        TextDelta("msg_1", 0, "Hé "),
        TextDelta("msg_1", 0, "you\n"),
        TextDelta("msg_1", 1, "No", "refusal"),
        MessageEnded({"id": "msg_1", "status": "completed"}),
        RunEnded(run("completed", usage=usage)),
    )
    counts = b',"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'
    deltas = content("Hé ".encode()) + content(b"you\\n") + content(b"\\n\\nNo")
    assert frames == STARTED + MESSAGE_START + deltas + MESSAGE_END + finished(b"completed", counts)


def test_a_second_message_ends_the_first():
    frames = encode(TextDelta("msg_1", 0, "A"), TextDelta("msg_2", 0, "B"))
    second = (MESSAGE_START + content(b"B")).replace(b"msg_1", b"msg_2")
    assert frames == STARTED + MESSAGE_START + content(b"A") + MESSAGE_END + second


def test_function_calls_share_their_parent_and_hosted_ones_stay_hidden():
    frames = encode(
        RunCreated(run("queued")),
        ToolCallDelta("step_0", 0, "fs_1", "file_search", "", ""),
        ToolCallReady("step_0", 0, {"id": "fs_1", "type": "file_search", "file_search": {}}),
        ToolCallDelta("step_1", 0, "call_1", "function", "f", ""),
        ToolCallDelta("step_1", 0, "call_1", "function", "", '{"a":1}'),
        function("call_1", "f", '{"a":1}'),
        ToolCallDelta("step_1", 1, "call_2", "function", "g", ""),
        function("call_2", "g", ""),
        RunEnded(run("requires_action")),
    )
    assert frames == (
        STARTED
        + call_start(b"call_1", b"f")
        + b'data: {"type":"TOOL_CALL_ARGS","toolCallId":"call_1","delta":"{\\"a\\":1}"}\n\n'
        + b'data: {"type":"TOOL_CALL_END","toolCallId":"call_1"}\n\n'
        + call_start(b"call_2", b"g")
        + b'data: {"type":"TOOL_CALL_END","toolCallId":"call_2"}\n\n'
        + finished(b"requires_action")
    )


def test_lost_upstream_ends_the_message_before_the_error():
    error = {"message": "Gone.", "type": "server_error", "param": None, "code": None}
    frames = encode(RunCreated(run("queued")), TextDelta("msg_1", 0, "Hi"), StreamFailed(error))
    failure = b'data: {"type":"RUN_ERROR","message":"Gone."}\n\n'
    assert frames == STARTED + MESSAGE_START + content(b"Hi") + MESSAGE_END + failure


@pytest.mark.parametrize(
    ("status", "failure", "ending"),
    [
        ("cancelled", None, b'"message":"The run was cancelled.","code":"cancelled"'),
        (
            "failed",
            failure_for("image_too_large"),
            b'"message":"The image is too large.","code":"image_too_large"',
        ),
        ("expired", EXPIRED, b'"message":"The run expired before it finished.","code":"expired"'),
    ],
)
def test_answers_that_are_not_whole_end_in_an_error(status, failure, ending):
    frames = encode(TextDelta("msg_1", 0, "Hi"), RunEnded(run(status), failure=failure))
    error = b'data: {"type":"RUN_ERROR",' + ending + b"}\n\n"
    assert frames == STARTED + MESSAGE_START + content(b"Hi") + MESSAGE_END + error


def test_a_call_that_was_cut_off_has_a_result_that_says_so():
    opened = ToolCallDelta("step_1", 0, "call_1", "function", "f", "")
    frames = encode(opened, RunEnded(run("incomplete")))
    cut = (
        b'data: {"type":"TOOL_CALL_END","toolCallId":"call_1"}\n\n'
        b'data: {"type":"TOOL_CALL_RESULT","messageId":"call_1-result","toolCallId":"call_1","role":"tool",'
        b'"content":"The call was cut off and not carried out."}\n\n'
    )
    assert frames == STARTED + call_start(b"call_1", b"f") + cut + finished(b"incomplete")


def test_resumed_stream_opens_what_it_goes_on_with():
    frames = encode(
        ToolCallDelta("step_1", 0, "call_1", "function", "", ":1}"),
        function("call_1", "f", '{"a":1}'),
        MessageEnded({"id": "msg_0", "status": "completed"}),
        RunEnded(run("completed")),
    )
    assert frames == (
        STARTED
        + call_start(b"call_1", b"f")
        + b'data: {"type":"TOOL_CALL_ARGS","toolCallId":"call_1","delta":"{\\"a\\":1}"}\n\n'
        + b'data: {"type":"TOOL_CALL_END","toolCallId":"call_1"}\n\n'
        + finished(b"completed")
    )
