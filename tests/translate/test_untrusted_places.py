"""Places, ids and numbers of items are not trusted: every text is told whole, once, and in order."""

import json

import pytest

from app.translate.events import (
    HostedCall,
    Json,
    MessageEnded,
    MessageStarted,
    RunEnded,
    StepEnded,
    StepStarted,
    TextDelta,
)
from app.translate.run_translator import RunTranslator
from app.translate.upstream_types import MalformedEventError
from tests.translate.upstream_events import (
    CONTEXT,
    RESPONSE,
    added,
    arguments,
    call,
    created,
    done,
    ended,
    fed,
    message,
    text,
)


def told(events):
    """Per message: its first id, the deltas of each part, and the texts that it ends with."""
    found: dict[str, tuple[dict[int, str], list[str]]] = {}
    for event in events:
        if isinstance(event, MessageStarted):
            found[event.message["id"]] = ({}, [])
        elif isinstance(event, TextDelta):
            deltas, _ = found[event.message_id]
            deltas[event.index] = deltas.get(event.index, "") + event.text
        elif isinstance(event, MessageEnded):
            _, texts = found[event.message["id"]]
            texts += [part["text"]["value"] for part in event.message["content"]]
    return found


def answer(events):
    (end,) = [event for event in events if isinstance(event, RunEnded)]
    return {found["id"]: found["content"][0]["text"]["value"] for found in end.messages}


def empty(item_id="msg_1"):
    return message("", id=item_id, content=[], status="in_progress")


@pytest.mark.parametrize("index", [1, 5])
def test_deltas_at_another_content_index_than_the_whole_part(index):
    whole = message("Hello")
    events = fed(
        [
            *created(),
            added(empty()),
            text("Hel", part=index),
            text("lo", part=index),
            done(whole),
            ended(output=[whole]),
        ]
    )
    assert told(events) == {"msg_1": ({0: "Hello"}, ["Hello"])}


def test_two_parts_of_which_only_the_second_was_streamed():
    parts: list[Json] = [{"type": "output_text", "text": said, "annotations": []} for said in ("one", "two")]
    whole = message("", content=parts)
    events = fed([*created(), added(empty()), text("tw", part=1), done(whole), ended(output=[whole])])
    deltas, texts = told(events)["msg_1"]
    assert sorted(deltas.values()) == ["one", "two"]
    assert texts == ["one", "two"]


def test_an_item_that_changes_its_id_keeps_the_first_one():
    other, third = message("Hello", id="msg_other"), message("Hello", id="msg_third")
    events = fed([*created(), added(empty()), text("Hello"), done(other), ended(output=[third])])
    assert told(events) == {"msg_1": ({0: "Hello"}, ["Hello"])}
    assert answer(events) == {"msg_1": "Hello"}


def test_messages_that_come_together_are_told_one_after_the_other():
    one, two = message("one"), message("two", id="msg_2")
    second = {"item_id": "msg_2"}
    events = fed(
        [
            *created(),
            added(empty()),
            added(empty("msg_2"), 1),
            text("o"),
            text("tw", 1) | second,
            text("ne"),
            text("o", 1) | second,
            done(two, 1),
            done(one),
            ended(output=[one, two]),
        ]
    )
    assert told(events) == {"msg_1": ({0: "one"}, ["one"]), "msg_2": ({0: "two"}, ["two"])}
    kinds = [type(event) for event in events if isinstance(event, MessageStarted | MessageEnded)]
    assert kinds == [MessageStarted, MessageEnded] * 2


def test_a_call_waits_for_the_message_before_it():
    one = message("one")
    events = fed(
        [
            *created(),
            added(empty()),
            added(call(arguments=""), 1),
            text("one"),
            done(one),
            done(call(), 1),
            ended(output=[one, call()]),
        ]
    )
    assert told(events) == {"msg_1": ({0: "one"}, ["one"])}
    assert events[-1].run["status"] == "requires_action"


def test_a_message_that_waits_is_told_whole_by_the_runs_end():
    one, two = message("one"), message("two", id="msg_2")
    events = fed([*created(), added(empty()), text("one"), text("t", 1), ended(output=[one, two])])
    assert told(events) == {"msg_1": ({0: "one"}, ["one"]), "msg_2": ({0: "two"}, ["two"])}


def test_a_delta_of_null_says_nothing():
    whole = message("Hi")
    null = text("") | {"delta": None, "item_id": None}
    events = fed([*created(), added(empty()), null, text("Hi"), null, done(whole), ended(output=[whole])])
    assert told(events) == {"msg_1": ({0: "Hi"}, ["Hi"])}


def test_tokens_counted_in_floats():
    usage = {"input_tokens": 10.0, "output_tokens": 2.0, "total_tokens": 12.0}
    (*_, end) = fed([*created(), ended(output=[message("Hi")], usage=usage)])
    counted = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    assert json.dumps(end.run["usage"]) == json.dumps(counted)


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": 1e300},
        {"created_at": 2**80},
        {"created_at": -1},
        {"usage": {"input_tokens": 1e300}},
        {"usage": {"output_tokens": -5}},
        {"usage": {"input_tokens": "ten"}},
    ],
)
def test_numbers_that_cannot_be_are_malformed(changes):
    event = json.dumps({"type": "response.created", "response": RESPONSE | changes}).encode()
    with pytest.raises(MalformedEventError):
        RunTranslator(CONTEXT).feed(b"response.created", event)


CODE = {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": None, "status": "completed"}


def steps(events):
    """The ids of steps as they begin and end."""
    return [
        (type(event).__name__, event.step["id"])
        for event in events
        if isinstance(event, StepStarted | StepEnded)
    ]


def test_items_without_ids_are_items_of_their_own():
    one, two = ({**message(said), "id": None} for said in ("one", "two"))
    search = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    items = [one, two, search, search]
    events = fed(
        [*created(), *(each for n, item in enumerate(items) for each in (added(item, n), done(item, n)))]
    )
    assert [texts for _, texts in told(events).values()] == [["one"], ["two"]]
    calls = {event.call_id for event in events if isinstance(event, HostedCall)}
    assert len(calls) == 2


@pytest.mark.parametrize(("second", "step"), [(CODE, "step_1.1"), (message("Hi"), "step_1.1")])
def test_a_step_begins_once_however_calls_interleave(second, step):
    function = call(arguments="")
    events = fed(
        [
            *created(),
            added(function),
            added(second | {"content": []}, 1),
            arguments("{}"),
            done(call(arguments="{}")),
            done(second, 1),
            ended(output=[call(arguments="{}"), second]),
        ]
    )
    assert steps(events) == [
        ("StepStarted", "step_1.0"),
        ("StepEnded", "step_1.0"),
        ("StepStarted", step),
        ("StepEnded", step),
    ]
    assert events[-1].run["required_action"] is not None


def test_functions_that_are_called_together_stay_one_step():
    first, second = call(call_id="call_1"), call(call_id="call_2")
    events = fed(
        [
            *created(),
            added(first),
            added(second, 1),
            done(first),
            done(second, 1),
            ended(output=[first, second]),
        ]
    )
    assert steps(events) == [("StepStarted", "step_1.0")]
    calls = events[-1].run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [each["id"] for each in calls] == ["call_1", "call_2"]


def test_what_waited_for_an_end_that_never_came_is_told():
    events = fed(
        [*created(), added(empty()), text("one"), added(call(), 1), done(call(), 1), ended(output=[])]
    )
    assert told(events) == {"msg_1": ({0: "one"}, ["one"])}
    assert events[-1].run["status"] == "requires_action"
    assert answer(events) == {"msg_1": "one"}


def test_a_run_that_fails_keeps_what_waited():
    translator = RunTranslator(CONTEXT)
    second = text("two", 1) | {"item_id": "msg_2"}
    events = fed([*created(), added(empty()), text("one"), added(empty("msg_2"), 1), second], translator)
    events += translator.fail({"code": "upstream_broken"})
    assert [item["content"][0]["text"] for item in translator.said()] == ["one", "two"]
    assert [texts for _, texts in told(events).values()] == [["one"], ["two"]]


def test_a_phase_that_comes_at_the_end_takes_no_text_back():
    late = message("Let me look.", phase="commentary")
    events = fed([*created(), added(empty()), text("Let me look."), done(late), ended(output=[late])])
    assert answer(events) == {"msg_1": "Let me look."}


def test_a_summary_of_plain_texts_is_passed_over():
    odd = {"type": "reasoning", "id": "rs_1", "summary": ["plain", None]}
    assert isinstance(fed([*created(), added(odd), done(odd), ended(output=[odd])])[-1], RunEnded)
