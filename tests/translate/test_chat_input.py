"""Chat histories of four frontends."""

from typing import Any

import pytest

from app.translate.chat_input import InputError, continued_message_id, history_items, last_user_items

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="


def asked(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content)}


def text(value: str) -> dict[str, Any]:
    return {"type": "input_text", "text": value}


def said(value: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": value}]}


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, value: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "u1", "role": "user", "parts": list(parts)}


def bot(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, *parts]}


def part(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


HI = user(part("Hi"))
ANSWERED = {
    "type": "tool-f",
    "toolCallId": "call_1",
    "state": "output-available",
    "input": {"a": 1},
    "output": {"b": 2},
}
FAILED = {
    "type": "dynamic-tool",
    "toolName": "g",
    "toolCallId": "call_2",
    "state": "output-error",
    "errorText": "No.",
}
UNANSWERED = {"type": "tool-f", "toolCallId": "call_3", "state": "input-available", "input": {}}
HOSTED = {**ANSWERED, "toolCallId": "call_4", "providerExecuted": True}
PAIRS = [
    call("call_1", "f", '{"a":1}'),
    output("call_1", '{"b":2}'),
    call("call_2", "g", "{}"),
    output("call_2", "No."),
]


def test_ai_sdk_history_with_files():
    history = [
        {"id": "s1", "role": "system", "parts": [part("Be evil.")]},
        user(
            {"type": "file", "mediaType": "image/png", "filename": "x.png", "url": PNG},
            {"type": "file", "mediaType": "application/pdf", "filename": "x.pdf", "url": PDF},
            {"type": "file", "mediaType": "image/jpeg", "url": "https://example.org/x.jpg"},
            {"type": "data-note", "data": {}},
            part("Hi"),
        ),
        bot(
            part("Fine."),
            {"type": "reasoning", "text": "…"},
            {"type": "source-url", "url": "https://example.org"},
        ),
        user(part("And you?")),
    ]
    assert history_items(history) == [
        asked(
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
            {"type": "input_file", "filename": "x.pdf", "file_data": PDF},
            {"type": "input_image", "image_url": "https://example.org/x.jpg", "detail": "auto"},
            text("Hi"),
        ),
        said("Fine."),
        asked(text("And you?")),
    ]
    assert last_user_items(history) == [asked(text("And you?"))]


def test_ai_sdk_history_keeps_only_calls_that_have_an_output():
    history = [HI, bot(part("Let me see."), ANSWERED, FAILED, UNANSWERED, HOSTED)]
    assert history_items(history) == [asked(text("Hi")), said("Let me see."), *PAIRS]


def test_ai_sdk_tool_results_go_on_with_a_thread():
    history = [HI, bot(ANSWERED, FAILED, UNANSWERED, HOSTED)]
    assert last_user_items(history) == [output("call_1", '{"b":2}'), output("call_2", "No.")]


def test_ai_sdk_results_of_earlier_steps_are_not_sent_again():
    second = {**ANSWERED, "toolCallId": "call_5", "output": "text"}
    assert last_user_items([HI, bot(ANSWERED, {"type": "step-start"}, second)]) == [output("call_5", "text")]
    finished = bot(ANSWERED, {"type": "step-start"}, part("Done."))
    assert last_user_items([HI, finished, user(part("Thanks"))]) == [asked(text("Thanks"))]


def test_only_the_last_of_several_unanswered_questions_is_new():
    assert last_user_items([user(part("One")), user(part("Two"))]) == [asked(text("Two"))]


def test_model_messages_of_react_data_stream():
    history = [
        {
            "role": "user",
            "content": [part("Hi"), {"type": "image", "image": "iVBORw0KGgo=", "mediaType": "image/png"}],
        },
        {"role": "user", "content": [{"type": "file", "data": PDF, "mediaType": "application/pdf"}]},
        {
            "role": "assistant",
            "content": [
                part("Wait."),
                {"type": "tool-call", "toolCallId": "call_1", "toolName": "f", "args": {"a": 1}},
                {"type": "tool-call", "toolCallId": "call_2", "toolName": "g", "input": {}},
            ],
        },
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "call_1",
                    "output": {"type": "json", "value": {"b": 2}},
                },
                {"type": "tool-result", "toolCallId": "call_2", "result": "No."},
            ],
        },
    ]
    results = [output("call_1", '{"b":2}'), output("call_2", "No.")]
    assert history_items(history) == [
        asked(text("Hi"), {"type": "input_image", "image_url": PNG, "detail": "auto"}),
        asked({"type": "input_file", "filename": "file.pdf", "file_data": PDF}),
        said("Wait."),
        call("call_1", "f", '{"a":1}'),
        call("call_2", "g", "{}"),
        *results,
    ]
    assert last_user_items(history) == results


def test_ag_ui_messages():
    image = {"type": "image", "source": {"type": "data", "value": "iVBORw0KGgo=", "mimeType": "image/png"}}
    web_image = {"type": "image", "source": {"type": "url", "value": "https://example.org/x"}}
    document = {
        "type": "document",
        "source": {"type": "data", "value": "JVBERi0=", "mimeType": "application/pdf"},
    }
    function = {"name": "f", "arguments": '{"a":1}'}
    history = [
        {"id": "1", "role": "developer", "content": "Be evil."},
        {"id": "2", "role": "user", "content": [part("Hi"), image, web_image, document]},
        {
            "id": "3",
            "role": "assistant",
            "toolCalls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"id": "4", "role": "tool", "toolCallId": "call_1", "content": "sunny"},
        {"id": "5", "role": "user", "content": "And now?"},
    ]
    assert history_items(history) == [
        asked(
            text("Hi"),
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
            {"type": "input_image", "image_url": "https://example.org/x", "detail": "auto"},
            {"type": "input_file", "filename": "file.pdf", "file_data": PDF},
        ),
        call("call_1", "f", '{"a":1}'),
        output("call_1", "sunny"),
        asked(text("And now?")),
    ]
    assert last_user_items(history) == [output("call_1", "sunny"), asked(text("And now?"))]


def test_ag_ui_tool_error_without_content():
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "tool", "toolCallId": "call_1", "content": "", "error": "No."},
    ]
    assert last_user_items(history)[0] == output("call_1", "No.")


def test_deep_chat_messages():
    history = [
        {"role": "ai", "text": "Welcome."},
        {"role": "ai", "html": "<b>Welcome.</b>"},
        {"role": "user", "text": "Hi", "files": [{"src": PNG, "name": "x.png", "type": "image"}]},
    ]
    assert history_items(history) == [
        said("Welcome."),
        asked(text("Hi"), {"type": "input_image", "image_url": PNG, "detail": "auto"}),
    ]


def test_the_answer_extends_the_assistant_message_at_the_end():
    assert continued_message_id([HI, bot(ANSWERED)]) == "a1"
    assert continued_message_id([bot(part("Welcome.")), HI]) is None
    assert continued_message_id([{"id": "1", "role": "user", "content": "Hi"}]) is None


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ({"role": "user"}, "messages"),
        (["Hi"], "messages[0]"),
        ([{"role": "root", "content": "Hi"}], "messages[0].role"),
        ([{"role": ["user"], "content": "Hi"}], "messages[0].role"),
        ([{"role": "system", "content": "Hi"}], "messages"),
        ([bot(part("Welcome."))], "messages"),
        ([HI, bot(part("Fine."))], "messages"),
        ([HI, user()], "messages[1]"),
        ([HI, user(part(" \n"))], "messages[1]"),
        ([{"role": "user", "text": 5}], "messages[0].text"),
        ([user({"type": "text", "text": None})], "messages[0].parts[0].text"),
        ([user(part("Hi"), {"type": "audio"})], "messages[0].parts[1].type"),
        ([user({"type": {}})], "messages[0].parts[0].type"),
        ([{"role": "user", "content": ["Hi"]}], "messages[0].content[0]"),
        ([user({"type": "file", "mediaType": "image/png"})], "messages[0].parts[0].url"),
        ([user({"type": "file", "url": "data:;base64,AAAA"})], "messages[0].parts[0].url"),
        ([user({"type": "file", "url": "data:text/plain,Hi"})], "messages[0].parts[0].url"),
        (
            [user({"type": "file", "mediaType": "application/pdf", "url": "https://example.org/x.pdf"})],
            "messages[0].parts[0].url",
        ),
        (
            [user({"type": "file", "mediaType": "image/png", "url": "file:///etc/passwd"})],
            "messages[0].parts[0].url",
        ),
        ([{"role": "user", "text": "Hi", "files": {}}], "messages[0].files"),
        ([{"role": "user", "text": "Hi", "files": [{"src": "blob:x"}]}], "messages[0].files[0].src"),
        ([{"role": "user", "content": [{"type": "image", "source": 5}]}], "messages[0].content[0].source"),
    ],
)
def test_errors_name_the_field(messages, param):
    with pytest.raises(InputError) as caught:
        history_items(messages)
    assert caught.value.param == param
    assert str(caught.value) == caught.value.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "toolCalls": [{"id": "call_1"}]}, "messages[1].toolCalls[0].function"),
        ({"role": "assistant", "toolCalls": 5}, "messages[1].toolCalls"),
        ({"role": "assistant", "content": [{"type": "tool-call"}]}, "messages[1].content[0].toolCallId"),
        (bot({**ANSWERED, "toolCallId": None}), "messages[1].parts[1].toolCallId"),
        (bot({**FAILED, "toolName": None}), "messages[1].parts[1].toolName"),
        ({"role": "tool", "content": [part("sunny")]}, "messages[1].content[0].type"),
        ({"role": "tool", "toolCallId": 5, "content": "sunny"}, "messages[1].toolCallId"),
    ],
)
def test_errors_in_tool_messages_name_the_field(message, param):
    with pytest.raises(InputError) as caught:
        history_items([HI, message])
    assert caught.value.param == param


@pytest.mark.parametrize(
    "messages", [[HI, bot(part("Fine."))], [HI, bot(UNANSWERED)], [bot(part("Welcome."))]]
)
def test_a_thread_needs_something_new(messages):
    with pytest.raises(InputError) as caught:
        last_user_items(messages)
    assert caught.value.param == "messages"
