"""Exact frames of the chat surface's own stream, and its JSON answer."""

from typing import Any

from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    MessageStarted,
    RunCreated,
    RunEnded,
    RunInProgress,
    StreamFailed,
    TextDelta,
)
from app.translate.failures import failure_for
from app.translate.protocols.chat_sse import ChatEncoder, chat_answer

THREAD = b'event: thread\ndata: {"thread_id":"thread_1","run_id":"run_1"}\n\n'
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
IDS = b'"thread_id":"thread_1","role":"assistant","created_at":'


def run(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "run_1", "thread_id": "thread_1", "created_at": 5, "status": status, "usage": None, **more}


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_1", "created_at": 9, "content": list(parts)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": value, "annotations": []}}


def encode(*events: DomainEvent) -> bytes:
    encoder = ChatEncoder()
    return b"".join(encoder.encode(event) for event in events) + encoder.close()


def test_whole_answer_in_order():
    source = {"type": "url_citation", "index": 2, "url": "https://example.org"}
    frames = encode(
        RunCreated(run("queued"), sequence=0),
        RunInProgress(run("in_progress"), sequence=1),
        MessageStarted(message(), sequence=2),
        TextDelta("msg_1", 0, "Hé ", sequence=3),
        TextDelta("msg_1", 0, "you\n", sequence=4),
        AnnotationAdded("msg_1", 0, 0, {}, source, sequence=5),
        RunEnded(
            run("completed", usage={**USAGE, "more": {}}), [message(text("Hé you\n"))], [source], sequence=6
        ),
    )
    assert frames == (
        b'id: 0\nevent: thread\ndata: {"thread_id":"thread_1","run_id":"run_1"}\n\n'
        + 'id: 3\nevent: delta\ndata: {"text":"Hé "}\n\n'.encode()
        + b'id: 4\nevent: delta\ndata: {"text":"you\\n"}\n\n'
        + b'id: 5\nevent: annotation\ndata: {"type":"url_citation","index":2,"url":"https://example.org"}\n\n'
        + 'id: 6\nevent: done\ndata: {"message":"Hé you\\n",'.encode()
        + IDS
        + b'9,"run_id":"run_1","message_id":"msg_1","status":"completed",'
        b'"annotations":[{"type":"url_citation","index":2,"url":"https://example.org"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    )


def test_parts_are_apart_in_the_deltas_as_in_the_answer():
    refusal = {"type": "refusal", "refusal": "C"}
    image = {"type": "image_file", "image_file": {"file_id": "file_1"}}
    frames = encode(
        TextDelta("msg_1", 0, "A"),
        TextDelta("msg_1", 1, ""),
        TextDelta("msg_1", 2, "B"),
        TextDelta("msg_2", 0, "C", "refusal"),
    )
    whole = chat_answer(
        RunEnded(run("completed"), [message(text("A"), text(""), text("B"), image), message(refusal)])
    )
    deltas = [b"A", b"", b"\\n\\nB", b"\\n\\nC"]
    assert frames == b"".join(b'event: delta\ndata: {"text":"%b"}\n\n' % delta for delta in deltas)
    assert whole["message"] == "A\n\nB\n\nC"


def test_requires_action_names_the_calls():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    frames = encode(RunCreated(run("queued")), RunEnded(run("requires_action", required_action=action)))
    assert frames == (
        THREAD
        + b'event: done\ndata: {"message":"",'
        + IDS
        + b'5,"run_id":"run_1","message_id":null,"status":"requires_action",'
        b'"annotations":[],"usage":null,"tool_calls":[{"id":"call_1","name":"f","arguments":"{}"}]}\n\n'
    )


def test_cancelled_is_done_with_what_there_is():
    frames = encode(TextDelta("msg_1", 0, "Hi"), RunEnded(run("cancelled"), [message(text("Hi"))]))
    assert frames == (
        b'event: delta\ndata: {"text":"Hi"}\n\nevent: done\ndata: {"message":"Hi",'
        + IDS
        + b'9,"run_id":"run_1","message_id":null,"status":"cancelled","annotations":[],"usage":null}\n\n'
    )


def test_failed_run_is_an_error_of_its_kind():
    ended = RunEnded(run("failed"), failure=failure_for("rate_limit_exceeded"))
    frames = encode(TextDelta("msg_1", 0, "Hi"), ended)
    assert frames == (
        b'event: delta\ndata: {"text":"Hi"}\n\nevent: error\ndata: {"error":{"message":'
        b'"The upstream\'s rate limit is reached. Retry later.",'
        b'"type":"rate_limit_error","param":null,"code":"upstream_rate_limited"}}\n\n'
    )


def test_failed_run_without_a_cause_is_still_an_error():
    frames = encode(RunEnded(run("failed", last_error=None)))
    error = (
        b'{"message":"The model failed during the run.","type":"server_error","param":null,'
        b'"code":"server_error"}'
    )
    assert frames == b'event: error\ndata: {"error":' + error + b"}\n\n"


def test_lost_upstream_in_mid_message_is_an_error():
    error = {"message": "Gone.", "type": "server_error", "param": None, "code": "upstream_lost"}
    frames = encode(RunCreated(run("queued")), TextDelta("msg_1", 0, "Hi", sequence=3), StreamFailed(error))
    assert frames == (
        THREAD + b'id: 3\nevent: delta\ndata: {"text":"Hi"}\n\n'
        b'event: error\ndata: {"error":{"message":"Gone.","type":"server_error","param":null,'
        b'"code":"upstream_lost"}}\n\n'
    )
