"""Exact frames of the Assistants event stream."""

from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    MessageEnded,
    MessageStarted,
    RunCreated,
    RunEnded,
    RunInProgress,
    StepEnded,
    StepStarted,
    StreamFailed,
    TextDelta,
    ThreadCreated,
    ToolCallDelta,
    ToolCallReady,
)
from app.translate.protocols.assistants_sse import AssistantsEncoder

RUN = {"id": "run_1", "status": "queued"}
STEP = {"id": "step_1", "status": "in_progress"}
MESSAGE = {"id": "msg_1", "status": "in_progress", "content": []}
DELTA = (
    b'data: {"id":"msg_1","object":"thread.message.delta","delta":{"content":['
    b'{"index":0,"type":"text","text":'
)
DONE = b"event: done\ndata: [DONE]\n\n"
BEGINNING = (
    b'event: thread.run.created\ndata: {"id":"run_1","status":"queued"}\n\n'
    b'event: thread.run.queued\ndata: {"id":"run_1","status":"queued"}\n\n'
    b'event: thread.run.in_progress\ndata: {"id":"run_1","status":"in_progress"}\n\n'
)
MESSAGE_OPENS = (
    b'event: thread.run.step.created\ndata: {"id":"step_1","status":"in_progress"}\n\n'
    b'event: thread.run.step.in_progress\ndata: {"id":"step_1","status":"in_progress"}\n\n'
    b'event: thread.message.created\ndata: {"id":"msg_1","status":"in_progress","content":[]}\n\n'
    b'event: thread.message.in_progress\ndata: {"id":"msg_1","status":"in_progress","content":[]}\n\n'
)


def encode(*events: DomainEvent, with_ids: bool = False) -> bytes:
    encoder = AssistantsEncoder(with_ids=with_ids)
    return b"".join(encoder.encode(event) for event in events) + encoder.close()


def begun() -> list[DomainEvent]:
    return [RunCreated(RUN), RunInProgress({**RUN, "status": "in_progress"})]


def message_begun() -> list[DomainEvent]:
    return [*begun(), StepStarted(STEP), MessageStarted(MESSAGE)]


def call_delta(index: int, call_id: str, kind: str, name: str, arguments: str) -> ToolCallDelta:
    return ToolCallDelta("step_1", index, call_id, kind, name, arguments)


def call_frame(call: bytes) -> bytes:
    return (
        b'event: thread.run.step.delta\ndata: {"id":"step_1","object":"thread.run.step.delta","delta":'
        b'{"step_details":{"type":"tool_calls","tool_calls":[' + call + b"]}}}\n\n"
    )


def test_whole_answer_in_order():
    annotation = {"type": "url_citation", "start_index": 2}
    frames = encode(
        ThreadCreated({"id": "thread_1"}),
        *message_begun(),
        TextDelta("msg_1", 0, 'Hé "'),
        TextDelta("msg_1", 0, "you\n"),
        AnnotationAdded("msg_1", 0, 3, annotation, {}),
        MessageEnded({"id": "msg_1", "status": "completed"}),
        StepEnded({"id": "step_1", "status": "completed"}),
        RunEnded({"id": "run_1", "status": "completed"}),
    )
    assert frames == (
        b'event: thread.created\ndata: {"id":"thread_1"}\n\n'
        + BEGINNING
        + MESSAGE_OPENS
        + b"event: thread.message.delta\n"
        + DELTA
        + '{"value":"Hé \\""}}]}}\n\n'.encode()
        + b"event: thread.message.delta\n"
        + DELTA
        + b'{"value":"you\\n"}}]}}\n\n'
        + b"event: thread.message.delta\n"
        + DELTA
        + b'{"annotations":[{"index":3,"type":"url_citation","start_index":2}]}}]}}\n\n'
        + b'event: thread.message.completed\ndata: {"id":"msg_1","status":"completed"}\n\n'
        + b'event: thread.run.step.completed\ndata: {"id":"step_1","status":"completed"}\n\n'
        + b'event: thread.run.completed\ndata: {"id":"run_1","status":"completed"}\n\n'
        + DONE
    )


def test_refusals_and_parts_have_their_own_deltas():
    frames = encode(TextDelta("msg_1", 0, "A"), TextDelta("msg_1", 1, "No", "refusal"))
    assert frames == (
        b"event: thread.message.delta\n" + DELTA + b'{"value":"A"}}]}}\n\n'
        b'event: thread.message.delta\ndata: {"id":"msg_1","object":"thread.message.delta","delta":'
        b'{"content":[{"index":1,"type":"refusal","refusal":"No"}]}}\n\n' + DONE
    )


def test_half_of_a_surrogate_pair_stays_an_escape():
    frames = encode(TextDelta("msg_1", 0, "\ud83d"))
    assert frames == b"event: thread.message.delta\n" + DELTA + b'{"value":"\\ud83d"}}]}}\n\n' + DONE


def test_function_calls_name_themselves_once_and_leave_the_step_open():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    frames = encode(
        *begun(),
        StepStarted(STEP),
        call_delta(0, "call_1", "function", "f", ""),
        call_delta(0, "call_1", "function", "", "{"),
        call_delta(0, "call_1", "function", "", "}"),
        ToolCallReady("step_1", 0, call),
        call_delta(1, "call_2", "function", "g", ""),
        RunEnded({"id": "run_1", "status": "requires_action"}),
    )
    assert frames == (
        BEGINNING
        + MESSAGE_OPENS[: MESSAGE_OPENS.index(b"event: thread.message.created")]
        + call_frame(
            b'{"index":0,"id":"call_1","type":"function","function":{"name":"f","output":null,"arguments":""}}'
        )
        + call_frame(b'{"index":0,"type":"function","function":{"arguments":"{"}}')
        + call_frame(b'{"index":0,"type":"function","function":{"arguments":"}"}}')
        + call_frame(
            b'{"index":1,"id":"call_2","type":"function","function":{"name":"g","output":null,"arguments":""}}'
        )
        + b'event: thread.run.requires_action\ndata: {"id":"run_1","status":"requires_action"}\n\n'
        + DONE
    )


def test_hosted_tools_send_their_id_once():
    frames = encode(
        call_delta(0, "ci_1", "code_interpreter", "", ""),
        call_delta(0, "ci_1", "code_interpreter", "", "1+1"),
        call_delta(0, "ci_1", "code_interpreter", "", ""),
        call_delta(1, "fs_1", "file_search", "", ""),
    )
    assert frames == (
        call_frame(
            b'{"index":0,"id":"ci_1","type":"code_interpreter","code_interpreter":{"input":"","outputs":[]}}'
        )
        + call_frame(b'{"index":0,"type":"code_interpreter","code_interpreter":{"input":"1+1"}}')
        + call_frame(b'{"index":0,"type":"code_interpreter","code_interpreter":{"input":""}}')
        + call_frame(b'{"index":1,"id":"fs_1","type":"file_search","file_search":{}}')
        + DONE
    )


def test_stream_after_tool_outputs_closes_the_step_of_before():
    frames = encode(StepEnded({"id": "step_1", "status": "completed"}), *begun())
    step = b'event: thread.run.step.completed\ndata: {"id":"step_1","status":"completed"}\n\n'
    assert frames == step + BEGINNING + DONE


def test_cancelled_in_mid_message():
    frames = encode(
        MessageEnded({"id": "msg_1", "status": "incomplete"}),
        StepEnded({"id": "step_1", "status": "cancelled"}),
        RunEnded({"id": "run_1", "status": "cancelled"}),
    )
    assert frames == (
        b'event: thread.message.incomplete\ndata: {"id":"msg_1","status":"incomplete"}\n\n'
        b'event: thread.run.step.cancelled\ndata: {"id":"step_1","status":"cancelled"}\n\n'
        b'event: thread.run.cancelled\ndata: {"id":"run_1","status":"cancelled"}\n\n' + DONE
    )


def test_lost_upstream_in_mid_message_is_an_error_event():
    error = {"message": "Gone.", "type": "server_error", "param": None, "code": "upstream_lost"}
    frames = encode(*message_begun(), TextDelta("msg_1", 0, "Hi"), StreamFailed(error))
    assert frames == (
        BEGINNING + MESSAGE_OPENS + b"event: thread.message.delta\n" + DELTA + b'{"value":"Hi"}}]}}\n\n'
        b'event: error\ndata: {"error":{"message":"Gone.","type":"server_error","param":null,'
        b'"code":"upstream_lost"}}\n\n' + DONE
    )


def test_resumed_stream_numbers_the_last_frame_of_an_event():
    frames = encode(
        TextDelta("msg_1", 0, "you", sequence=7),
        StepStarted(STEP, sequence=8),
        MessageEnded({"id": "msg_1", "status": "completed"}),
        with_ids=True,
    )
    assert frames == (
        b"id: 7\nevent: thread.message.delta\n" + DELTA + b'{"value":"you"}}]}}\n\n'
        b'event: thread.run.step.created\ndata: {"id":"step_1","status":"in_progress"}\n\n'
        b'id: 8\nevent: thread.run.step.in_progress\ndata: {"id":"step_1","status":"in_progress"}\n\n'
        b'event: thread.message.completed\ndata: {"id":"msg_1","status":"completed"}\n\n' + DONE
    )


def test_complete_call_marks_how_far_a_resuming_reader_got():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    whole, ready = call_delta(0, "call_1", "function", "", "{}"), ToolCallReady("step_1", 0, call, sequence=9)
    delta = call_frame(b'{"index":0,"type":"function","function":{"arguments":"{}"}}')
    mark = call_frame(b'{"index":0,"type":"function","function":{"arguments":""}}')
    assert encode(whole, ready, with_ids=True) == delta + b"id: 9\n" + mark + DONE
    assert encode(whole, ready) == delta + DONE


def test_plain_assistants_stream_carries_no_ids():
    assert encode(TextDelta("msg_1", 0, "A", sequence=7)).startswith(b"event: thread.message.delta\n")
