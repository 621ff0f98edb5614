"""Exact frames of the AI SDK's UI message stream."""

from typing import Any

import orjson
import pytest

from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    MessageEnded,
    MessageStarted,
    RunCreated,
    RunEnded,
    RunInProgress,
    StepStarted,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallReady,
)
from app.translate.failures import EXPIRED, failure_for
from app.translate.protocols.ai_sdk import AiSdkEncoder

START = (
    b'data: {"type":"start","messageId":"msg_1a",'
    b'"messageMetadata":{"thread_id":"thread_1","run_id":"run_1a"}}\n\n'
    b'data: {"type":"start-step"}\n\n'
)
HI = (
    b'data: {"type":"text-start","id":"msg_1-0"}\n\n'
    b'data: {"type":"text-delta","id":"msg_1-0","delta":"Hi"}\n\n'
    b'data: {"type":"text-end","id":"msg_1-0"}\n\n'
)
DONE = b"data: [DONE]\n\n"


def run(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "run_1a", "thread_id": "thread_1", "status": status, "usage": None, **more}


def finish(status: bytes, usage: bytes = b"null") -> bytes:
    return (
        b'data: {"type":"finish-step"}\n\n'
        b'data: {"type":"finish","messageMetadata":{"status":"%b","usage":%b}}\n\n' % (status, usage) + DONE
    )


def encode(*events: DomainEvent, message_id: str | None = None) -> bytes:
    encoder = AiSdkEncoder(message_id)
    return b"".join(encoder.encode(event) for event in events) + encoder.close()


def function(call_id: str, name: str, arguments: str) -> ToolCallReady:
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments, "output": None},
    }
    return ToolCallReady("step_1", 0, call)


def test_whole_answer_in_order():
    document = {"type": "file_citation", "index": 2, "file_id": "file_1", "filename": "a.PDF"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "more": {}}
    frames = encode(
        RunCreated(run("queued"), sequence=0),
        RunInProgress(run("in_progress"), sequence=1),
        StepStarted({"id": "step_1"}),
        MessageStarted({"id": "msg_1"}),
        TextDelta("msg_1", 0, "Hé ", sequence=3),
        TextDelta("msg_1", 0, "you\n"),
        AnnotationAdded("msg_1", 0, 0, {}, document),
        AnnotationAdded("msg_1", 0, 1, {}, document),
        TextDelta("msg_1", 1, "No", "refusal"),
        MessageEnded({"id": "msg_1", "status": "completed"}),
        RunEnded(run("completed", usage=usage)),
    )
    assert frames == (
        START + b'data: {"type":"text-start","id":"msg_1-0"}\n\n'
        b'data: {"type":"text-delta","id":"msg_1-0","delta":"H\xc3\xa9 "}\n\n'
        b'data: {"type":"text-delta","id":"msg_1-0","delta":"you\\n"}\n\n'
        b'data: {"type":"source-document","sourceId":"file_1","mediaType":"application/pdf","title":"a.PDF",'
        b'"filename":"a.PDF"}\n\n'
        b'data: {"type":"text-end","id":"msg_1-0"}\n\n'
        b'data: {"type":"text-start","id":"msg_1-1"}\n\n'
        b'data: {"type":"text-delta","id":"msg_1-1","delta":"No"}\n\n'
        b'data: {"type":"text-end","id":"msg_1-1"}\n\n'
        + finish(b"completed", b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}')
    )


@pytest.mark.parametrize(
    ("source", "chunk"),
    [
        (
            {"type": "url_citation", "url": "https://example.org", "title": "E"},
            b'{"type":"source-url","sourceId":"https://example.org","url":"https://example.org","title":"E"}',
        ),
        (
            {"type": "url_citation", "url": "https://example.org"},
            b'{"type":"source-url","sourceId":"https://example.org","url":"https://example.org"}',
        ),
        (
            {"type": "file_path", "file_id": "file_1"},
            b'{"type":"source-document","sourceId":"file_1","mediaType":"application/octet-stream","title":"file_1"}',
        ),
    ],
)
def test_sources(source, chunk):
    frames = encode(RunCreated(run("queued")), AnnotationAdded("msg_1", 0, 0, {}, source))
    assert frames == START + b"data: " + chunk + b"\n\n" + DONE


def test_function_calls_are_for_the_client_and_hosted_ones_stay_hidden():
    frames = encode(
        RunCreated(run("queued")),
        ToolCallDelta("step_0", 0, "fs_1", "file_search", "", ""),
        ToolCallReady("step_0", 0, {"id": "fs_1", "type": "file_search", "file_search": {}}),
        ToolCallDelta("step_1", 0, "call_1", "function", "f", ""),
        ToolCallDelta("step_1", 0, "call_1", "function", "", '{"a"'),
        ToolCallDelta("step_1", 0, "call_1", "function", "", ":1}"),
        function("call_1", "f", '{"a":1}'),
        ToolCallDelta("step_1", 1, "call_2", "function", "g", ""),
        function("call_2", "g", ""),
        RunEnded(run("requires_action")),
    )
    assert frames == (
        START + b'data: {"type":"tool-input-start","toolCallId":"call_1","toolName":"f"}\n\n'
        b'data: {"type":"tool-input-delta","toolCallId":"call_1","inputTextDelta":"{\\"a\\""}\n\n'
        b'data: {"type":"tool-input-delta","toolCallId":"call_1","inputTextDelta":":1}"}\n\n'
        b'data: {"type":"tool-input-available","toolCallId":"call_1","toolName":"f","input":{"a":1}}\n\n'
        b'data: {"type":"tool-input-start","toolCallId":"call_2","toolName":"g"}\n\n'
        b'data: {"type":"tool-input-available","toolCallId":"call_2","toolName":"g","input":{}}\n\n'
        + finish(b"requires_action")
    )


def test_arguments_that_are_no_json_reach_the_client_as_text():
    frames = encode(RunCreated(run("queued")), function("call_1", "f", "{a"))
    available = b'{"type":"tool-input-available","toolCallId":"call_1","toolName":"f","input":"{a"}'
    assert frames == START + b"data: " + available + b"\n\n" + DONE


def test_lost_upstream_closes_the_open_part_before_the_error():
    error = {"message": "Gone.", "type": "server_error", "param": None, "code": "upstream_lost"}
    frames = encode(RunCreated(run("queued")), TextDelta("msg_1", 0, "Hi"), StreamFailed(error))
    assert frames == (
        START + HI + b'data: {"type":"error","errorText":"Gone."}\n\n'
        b'data: {"type":"finish-step"}\n\ndata: {"type":"finish"}\n\n' + DONE
    )


@pytest.mark.parametrize(
    ("status", "failure", "notice"),
    [
        ("cancelled", None, b'{"type":"abort"}'),
        (
            "failed",
            failure_for("image_too_large"),
            b'{"type":"error","errorText":"The image is too large."}',
        ),
        ("expired", EXPIRED, b'{"type":"error","errorText":"The run expired before it finished."}'),
    ],
)
def test_answers_that_are_not_whole_say_so(status, failure, notice):
    ended = RunEnded(run(status), failure=failure)
    frames = encode(RunCreated(run("queued")), TextDelta("msg_1", 0, "Hi"), ended)
    assert frames == START + HI + b"data: " + notice + b"\n\n" + finish(status.encode())


def test_resumed_stream_opens_what_it_goes_on_with():
    frames = encode(
        ToolCallDelta("step_1", 0, "call_1", "function", "", ":1}"),
        TextDelta("msg_1", 0, "Hi"),
        MessageEnded({"id": "msg_1", "status": "completed"}),
        RunEnded(run("completed")),
    )
    assert frames == (
        b'data: {"type":"start"}\n\ndata: {"type":"start-step"}\n\n' + HI + finish(b"completed")
    )


def test_answer_goes_on_with_the_message_that_the_client_names():
    frames = encode(RunCreated(run("queued")), message_id="a7")
    assert orjson.loads(frames.split(b"\n\n")[0].removeprefix(b"data: "))["messageId"] == "a7"


def test_headers_name_the_protocol():
    assert AiSdkEncoder.headers == {
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "x-vercel-ai-ui-message-stream": "v1",
    }
