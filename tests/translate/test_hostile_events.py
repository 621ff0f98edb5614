"""A hostile upstream: whatever it sends is malformed, ignored or an answer, and never another error."""

import json
import random

import pytest

from app.translate.events import RunEnded, TextDelta
from app.translate.run_translator import RunTranslator
from app.translate.upstream_types import MalformedEventError
from tests.translate.upstream_events import (
    CONTEXT,
    PLAIN,
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

HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"type": 7}',
    b'{"type": "response.created"}',
    b'{"type": "response.created", "response": null}',
    b'{"type": "response.created", "response": []}',
    b'{"type": "response.created", "response": {}}',
    b'{"type": "response.created", "response": {"id": 7}}',
    b'{"type": "response.output_item.added"}',
    b'{"type": "response.output_item.added", "item": 5}',
    b'{"type": "response.output_item.done", "item": {}}',
    b'{"type": "response.output_text.delta", "delta": {}}',
    b'{"type": "response.output_text.delta", "output_index": "x"}',
    b'{"type": "response.completed", "response": {"id": "r", "output": 5}}',
    b'{"type": "response.completed", "response": {"id": "r", "output": [5]}}',
    b'{"type": "response.completed", "response": {"id": "r", "usage": 5}}',
    b'{"type": "response.output_text.annotation.added", "annotation": {"type": "file_path", "index": "x"}}',
]


class TestHostile:
    @pytest.mark.parametrize("data", HOSTILE)
    @pytest.mark.parametrize("started", [0, 2, 4])
    def test_garbage_is_malformed_or_nothing_and_never_another_error(self, data, started):
        for name in (
            b"",
            b"response.created",
            b"response.completed",
            b"response.output_item.added",
            b"response.output_item.done",
            b"nonsense",
        ):
            translator = RunTranslator(CONTEXT)
            fed(spoken(["a", "b"])[:started], translator)
            try:
                translator.feed(name, data)
            except MalformedEventError:
                continue

    def test_unknown_events_are_passed_over_unread(self):
        translator = RunTranslator(CONTEXT)
        assert translator.feed(b"response.new_thing.added", b"not even JSON") == []
        assert translator.feed(b"", b'{"type": "response.new_thing.added", "x": [1]}') == []
        assert translator.feed(b"", b'{"type": "response.new_thing.added", "item": 1}') == []

    @pytest.mark.parametrize(
        "data", [b"{}", b'{"item": ' + b'{"a": ' * 100_000, b'{"type": "response.created", "response": 1}']
    )
    def test_an_event_without_any_name_or_form_is_malformed(self, data):
        with pytest.raises(MalformedEventError):
            RunTranslator(CONTEXT).feed(b"", data)

    def test_ten_megabytes_in_one_event(self):
        big = "x" * 10_000_000
        events = fed([*created(), text(big), ended(output=[message(big)])])
        assert ordered(events) == PLAIN
        assert next(event for event in events if isinstance(event, TextDelta)).text == big

    def test_events_with_any_part_replaced(self):
        """Every value of every event, replaced by every kind of value, in turn."""
        events = [*spoken(["a"]), added(call()), arguments("{"), done(call(), 1)]
        values = [None, 0, -1, 1.5, True, "x", [], {}, [None], {"a": None}]
        draw = random.Random(7)
        for _ in range(3_000):
            translator = RunTranslator(CONTEXT)
            changed = json.loads(json.dumps(events))
            for event in draw.sample(changed, 2):
                holder, key = draw.choice(list(places(event)))
                holder[key] = draw.choice(values)
            for event in changed:
                name = event["type"] if isinstance(event["type"], str) else ""
                try:
                    translator.feed(name.encode(), json.dumps(event).encode())
                except MalformedEventError:
                    break

    def test_at_most_one_end(self):
        translator = RunTranslator(CONTEXT)
        events = fed([*created(), ended(), ended("failed"), ended("incomplete")], translator)
        assert [type(event) for event in events].count(RunEnded) == 1


def places(value):
    """Every (holder, key) inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)
