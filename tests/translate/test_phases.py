"""Commentary, reasoning and hosted tools: beside the answer in every protocol, and no part of it."""

import json

from app.translate.events import HostedCall, ReasoningDelta, RunEnded, TextDelta
from app.translate.protocols.ag_ui import AgUiEncoder
from app.translate.protocols.ai_sdk import AiSdkEncoder
from app.translate.protocols.assistants_sse import AssistantsEncoder
from app.translate.protocols.chat_sse import ChatEncoder
from app.translate.protocols.plain_text import TextEncoder
from app.translate.run_translator import RunTranslator, run_ended
from tests.translate.upstream_events import CONTEXT, RESPONSE, added, created, done, ended, fed, message, text

COMMENTARY = message("Let me look.", id="msg_c", phase="commentary")
FINAL = message("It is sunny.", id="msg_f", phase="final_answer")
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "I should look."}],
}
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {
        "type": "search",
        "query": "weather",
        "sources": [{"type": "url", "url": "https://a.example"}],
    },
}
MCP = {
    "type": "mcp_call",
    "id": "mcp_1",
    "name": "lookup",
    "server_label": "wiki",
    "arguments": '{"q":"x"}',
    "output": "found",
    "error": None,
}
SHELL = {"type": "shell_call", "id": "sh_1", "call_id": "call_s", "action": {"commands": ["ls"]}}
SHELL_OUTPUT = {
    "type": "shell_call_output",
    "id": "sho_1",
    "call_id": "call_s",
    "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
}
OUTPUT = [REASONING, COMMENTARY, SEARCH, FINAL]


def summary(delta, index=0):
    where = {"item_id": "rs_1", "output_index": index, "summary_index": 0}
    return {"type": "response.reasoning_summary_text.delta", **where, "delta": delta}


def opened(item):
    return {**item, "content": [], "status": "in_progress"}


STREAM = [
    *created(),
    added({**REASONING, "summary": []}),
    summary("I should "),
    done(REASONING),
    added(opened(COMMENTARY), 1),
    text("Let me look.", 1),
    done(COMMENTARY, 1),
    added(SEARCH, 2),
    done(SEARCH, 2),
    added(opened(FINAL), 3),
    text("It is ", 3),
    done(FINAL, 3),
    ended(output=OUTPUT),
]


def sent(encoder):
    return b"".join(map(encoder.encode, fed(STREAM, RunTranslator(CONTEXT)))) + encoder.close()


def chunks(data):
    frames = [frame.removeprefix("data: ") for frame in data.decode().split("\n\n") if frame]
    return [json.loads(frame) for frame in frames if frame != "[DONE]"]


def test_only_the_final_answer_is_the_answer():
    end = fed(STREAM)[-1]
    assert isinstance(end, RunEnded)
    assert [said["id"] for said in end.messages] == ["msg_f"]
    assert run_ended(RESPONSE | {"status": "completed", "output": OUTPUT}, CONTEXT).messages == end.messages


def test_texts_of_a_stream_say_what_they_are():
    told = [
        (event.text, event.is_commentary) if isinstance(event, TextDelta) else event
        for event in fed(STREAM)
        if isinstance(event, TextDelta | ReasoningDelta)
    ]
    assert [each if isinstance(each, tuple) else each.text for each in told] == [
        "I should ",
        "look.",
        ("Let me look.", True),
        ("It is ", False),
        ("sunny.", False),
    ]


def test_a_retold_run_has_the_same_events():
    response = RESPONSE | {"status": "completed", "output": OUTPUT}
    told = RunTranslator(CONTEXT).retell(response)
    assert [event.text for event in told if isinstance(event, TextDelta | ReasoningDelta)] == [
        "I should look.",
        "Let me look.",
        "It is sunny.",
    ]


def test_chat_events():
    names = [line[7:] for line in sent(ChatEncoder()).decode().split("\n") if line.startswith("event: ")]
    assert names == [
        "thread",
        "reasoning",
        "reasoning",
        "commentary",
        "tool",
        "tool",
        "delta",
        "delta",
        "done",
    ]
    data = sent(ChatEncoder()).decode()
    assert 'event: tool\ndata: {"id":"ws_1","name":"web_search","status":"in_progress"' in data
    assert json.loads(data.rstrip().rpartition("data: ")[2])["message"] == "It is sunny."


def test_plain_text_is_the_answer_alone():
    assert sent(TextEncoder()) == b"It is sunny."


def test_ai_sdk_parts():
    found = [
        (chunk["type"], chunk.get("delta", chunk.get("inputTextDelta", chunk.get("output"))))
        for chunk in chunks(sent(AiSdkEncoder()))
    ]
    given = '{"type":"search","query":"weather"}'
    assert found == [
        ("start", None),
        ("start-step", None),
        ("reasoning-start", None),
        ("reasoning-delta", "I should "),
        ("reasoning-delta", "look."),
        ("reasoning-end", None),
        ("reasoning-start", None),
        ("reasoning-delta", "Let me look."),
        ("reasoning-end", None),
        ("tool-input-start", None),
        ("tool-input-delta", given),
        ("tool-output-available", {"sources": [{"type": "url", "url": "https://a.example"}]}),
        ("text-start", None),
        ("text-delta", "It is "),
        ("text-delta", "sunny."),
        ("text-end", None),
        ("finish-step", None),
        ("finish", None),
    ]
    tools = [chunk for chunk in chunks(sent(AiSdkEncoder())) if chunk["type"].startswith("tool")]
    assert all(chunk["providerExecuted"] and chunk["dynamic"] for chunk in (tools[0], tools[2]))


def test_ag_ui_events():
    found = [(event["type"], event.get("delta")) for event in chunks(sent(AgUiEncoder("t", "r")))]
    assert found == [
        ("RUN_STARTED", None),
        ("REASONING_START", None),
        ("REASONING_MESSAGE_START", None),
        ("REASONING_MESSAGE_CONTENT", "I should "),
        ("REASONING_MESSAGE_CONTENT", "look."),
        ("REASONING_MESSAGE_END", None),
        ("REASONING_END", None),
        ("REASONING_START", None),
        ("REASONING_MESSAGE_START", None),
        ("REASONING_MESSAGE_CONTENT", "Let me look."),
        ("REASONING_MESSAGE_END", None),
        ("REASONING_END", None),
        ("TOOL_CALL_START", None),
        ("TOOL_CALL_ARGS", '{"type":"search","query":"weather"}'),
        ("TOOL_CALL_END", None),
        ("TOOL_CALL_RESULT", None),
        ("TEXT_MESSAGE_START", None),
        ("TEXT_MESSAGE_CONTENT", "It is "),
        ("TEXT_MESSAGE_CONTENT", "sunny."),
        ("TEXT_MESSAGE_END", None),
        ("RUN_FINISHED", None),
    ]


def test_the_assistants_wire_has_two_messages_and_no_reasoning():
    data = sent(AssistantsEncoder()).decode()
    assert data.count("event: thread.message.completed") == 2
    assert "I should" not in data
    assert "ws_1" not in data


def test_hosted_calls_and_what_came_of_them():
    failed = MCP | {"id": "mcp_2", "output": None, "error": "https://wiki.example refused"}
    items = [MCP, failed, SHELL, SHELL_OUTPUT]
    events = fed([*created(), *(each for n, i in enumerate(items) for each in (added(i, n), done(i, n)))])
    calls = [event for event in events if isinstance(event, HostedCall)]
    asked = {"server_label": "wiki", "arguments": {"q": "x"}}
    assert [(call.call_id, call.name, call.status, call.input, call.output) for call in calls] == [
        ("mcp_1", "lookup", "in_progress", asked, {}),
        ("mcp_1", "lookup", "completed", asked, {"output": "found"}),
        ("mcp_2", "lookup", "in_progress", asked, {}),
        ("mcp_2", "lookup", "failed", asked, {"is_error": True}),
        ("call_s", "shell", "in_progress", {"commands": ["ls"]}, {}),
        ("call_s", "shell", "in_progress", {"commands": ["ls"]}, {}),
        ("call_s", "shell", "completed", {}, {"output": [{"stdout": "a", "stderr": ""}]}),
    ]


def test_a_function_call_that_was_cut_off_is_not_ready():
    cut = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "status": "incomplete"}
    cut["arguments"] = '{"a"'
    events = fed([*created(), added(cut), done(cut), ended("incomplete", output=[cut])])
    end = events[-1]
    assert (end.run["status"], end.run["required_action"]) == ("incomplete", None)
    data = b"".join(map(AiSdkEncoder().encode, events)).decode()
    assert "tool-input-available" not in data
    found = [event["type"] for event in chunks(b"".join(map(AgUiEncoder("t", "r").encode, events)))]
    assert found[-3:] == ["TOOL_CALL_END", "TOOL_CALL_RESULT", "RUN_FINISHED"]


def test_the_last_event_of_a_hosted_call_is_one_that_every_protocol_shows():
    code = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "outputs": None,
        "status": "completed",
    }
    events = fed([*created(), added(code), done(code), ended(output=[code])])
    numbered = [type(event).__name__ for event in events if event.sequence is not None]
    assert numbered == ["RunCreated", "RunInProgress", "ToolCallDelta", "StepEnded", "RunEnded"]


def test_reasoning_ends_before_a_call_in_ag_ui():
    function = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    events = fed(
        [
            *created(),
            added({**REASONING, "summary": []}),
            done(REASONING),
            added(function, 1),
            done(function, 1),
            ended(output=[REASONING, function]),
        ]
    )
    found = [event["type"] for event in chunks(b"".join(map(AgUiEncoder("t", "r").encode, events)))]
    assert found[found.index("REASONING_END") + 1] == "TOOL_CALL_START"


def test_a_shells_commands_come_before_its_output_in_the_ai_sdks_stream():
    begun = {**SHELL, "action": {"commands": []}}
    events = fed([*created(), added(begun), done(SHELL), added(SHELL_OUTPUT, 1), done(SHELL_OUTPUT, 1)])
    found = chunks(b"".join(map(AiSdkEncoder().encode, events)))
    tool = [chunk for chunk in found if chunk["type"].startswith("tool")]
    assert [chunk["type"] for chunk in tool] == [
        "tool-input-start",
        "tool-input-delta",
        "tool-output-available",
    ]
    assert tool[1]["inputTextDelta"] == '{"commands":["ls"]}'


def test_a_hosted_call_without_an_end_ends_with_its_run():
    events = fed([*created(), added(SEARCH), ended(output=[])])
    found = [chunk["type"] for chunk in chunks(b"".join(map(AiSdkEncoder().encode, events)))]
    assert found[-3:] == ["tool-output-available", "finish-step", "finish"]
