"""Upstream events to domain events: the order that encoders rely on, also where the upstream leaves gaps."""

import pytest

from app.translate.events import (
    AnnotationAdded,
    MessageEnded,
    RunEnded,
    RunResumed,
    StepEnded,
    StepStarted,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallReady,
)
from app.translate.run_translator import RunTranslator
from tests.translate.upstream_events import (
    CONTEXT,
    FAILURE,
    PLAIN,
    RESPONSE,
    added,
    arguments,
    call,
    created,
    done,
    ended,
    fed,
    message,
    ordered,
    spoken,
    text,
)


class TestOrder:
    @pytest.mark.parametrize("named", [True, False])
    def test_a_message(self, named):
        events = fed(spoken(["Hel", "lo"]), named=named)
        assert ordered(events) == PLAIN
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello"
        last = events[-1]
        assert last.run["status"] == "completed"
        assert last.messages[0]["content"][0]["text"]["value"] == "Hello"

    def test_sequence_numbers_stand_on_the_last_event_of_each_upstream_event(self):
        events = fed(spoken(["a", "b"]))
        numbers = [event.sequence for event in events if event.sequence is not None]
        assert numbers == [0, 1, 2, 3, 4, 5, 6]
        assert events[-1].sequence == 6

    def test_parallel_calls_share_one_step(self):
        first, second = call(call_id="call_1"), call(call_id="call_2")
        output = [first, second]
        events = fed(
            [
                *created(),
                added(call(arguments=""), 0),
                arguments('{"a"', 0),
                arguments(": 1}", 0),
                done(first, 0),
                added(call(arguments="", call_id="call_2"), 1),
                done(second, 1),
                ended(output=output),
            ]
        )
        assert ordered(events).count(StepStarted) == 1
        assert StepEnded not in ordered(events)
        deltas = [event for event in events if isinstance(event, ToolCallDelta)]
        for index in (0, 1):
            grown = "".join(event.arguments for event in deltas if event.index == index)
            assert grown == '{"a": 1}'
        ready = [event.call["id"] for event in events if isinstance(event, ToolCallReady)]
        assert ready == ["call_1", "call_2"]
        assert events[-1].run["status"] == "requires_action"

    def test_a_message_before_a_call_closes_its_step_first(self):
        said, asked = message("Let me look."), call()
        events = fed(
            [
                *created(),
                added(message("", content=[]), 0),
                text("Let me look."),
                done(said, 0),
                added(call(arguments=""), 1),
                done(asked, 1),
                ended(output=[said, asked]),
            ]
        )
        assert ordered(events) == [
            *PLAIN[:7],
            StepStarted,
            ToolCallDelta,
            ToolCallReady,
            RunEnded,
        ]

    def test_an_annotation(self):
        note = {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 5}
        events = fed(
            [
                *created(),
                added(message("", content=[])),
                text("Hello"),
                {
                    "type": "response.output_text.annotation.added",
                    "output_index": 0,
                    "content_index": 0,
                    "annotation": note,
                },
                ended(output=[message("Hello")]),
            ]
        )
        found = next(event for event in events if isinstance(event, AnnotationAdded))
        assert (found.index, found.annotation_index) == (0, 0)
        assert found.annotation["file_citation"] == {"file_id": "file-1", "quote": ""}
        assert found.source == {"type": "file_citation", "index": 5, "file_id": "file-1", "filename": "a.txt"}

    @pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled"])
    def test_other_endings_close_what_is_open(self, status):
        events = fed([*created(), added(message("", content=[])), text("Hel"), ended(status)])
        assert ordered(events) == PLAIN
        assert (
            next(event for event in events if isinstance(event, MessageEnded)).message["status"]
            == "incomplete"
        )
        assert events[-1].run["status"] == status
        assert events[-1].messages[0]["content"][0]["text"]["value"] == "Hel"

    def test_a_resumed_run_is_not_created_again(self):
        events = fed(spoken(["a"]), RunTranslator(CONTEXT, resumed=True))
        assert ordered(events)[0] is RunResumed

    def test_nothing_comes_after_the_end(self):
        translator = RunTranslator(CONTEXT)
        fed(spoken(["a"]), translator)
        assert translator.is_ended
        assert fed(spoken(["b"]), translator) == []
        assert translator.fail(FAILURE) == []
        assert translator.finish(RESPONSE) == []


class TestGaps:
    """Upstreams that leave events out, or whose streams break off."""

    def test_a_text_without_its_item(self):
        events = fed([*created(), text("Hello"), ended(output=[message("Hello")])])
        assert ordered(events) == PLAIN

    def test_an_answer_that_stands_only_in_the_last_event(self):
        events = fed([created()[0], ended(output=[message("Hello")])])
        assert ordered(events) == PLAIN
        assert next(event.text for event in events if isinstance(event, TextDelta)) == "Hello"

    def test_a_last_event_without_output(self):
        events = fed([*spoken(["Hello"])[:-1], ended(output=[])])
        assert events[-1].messages[0]["content"][0]["text"]["value"] == "Hello"

    @pytest.mark.parametrize("cut", range(2, 7))
    def test_the_rest_of_a_broken_stream_is_told_from_the_whole_response(self, cut):
        translator = RunTranslator(CONTEXT)
        before = fed(spoken(["Hel", "lo ", "you"])[:cut], translator)
        whole = RESPONSE | {"status": "completed", "output": [message("Hello you")]}
        events = [*before, *translator.finish(whole)]
        assert ordered(events) == PLAIN
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello you"

    def test_a_failure_before_any_response(self):
        translator = RunTranslator(CONTEXT)
        assert translator.fail(FAILURE) == [StreamFailed(FAILURE)]

    def test_a_failure_in_the_middle_of_a_message(self):
        translator = RunTranslator(CONTEXT)
        before = fed(spoken(["Hel"])[:4], translator)
        events = [*before, *translator.fail(FAILURE)]
        assert ordered(events) == PLAIN
        assert events[-1].run["status"] == "failed"

    def test_a_retold_run_reads_as_a_followed_one(self):
        whole = RESPONSE | {"status": "completed", "output": [message("Hello")]}
        assert ordered(RunTranslator(CONTEXT).retell(whole)) == PLAIN
