"""Who wants only a run's end gets the same end as who watches the whole run."""

import json

import pytest

from app.translate.events import RunEnded, StreamFailed
from app.translate.run_end import RunEndReader
from app.translate.upstream_types import MalformedEventError, sequence_of
from tests.translate.upstream_events import (
    CONTEXT,
    FAILURE,
    RESPONSE,
    added,
    arguments,
    call,
    created,
    done,
    ended,
    fed,
    message,
    spoken,
    text,
)

CITED = message("See [1].", content=[{"type": "output_text", "text": "See [1].", "annotations": [
    {"type": "url_citation", "start_index": 4, "end_index": 7, "url": "https://a.example", "title": "A"},
]}])  # fmt: skip
STREAMS = {
    "message": spoken(["Hel", "lo"]),
    "sources": [*spoken(["See [1]."])[:-2], done(CITED), ended(output=[CITED])],
    "call": [*created(), added(call(arguments="")), arguments("{}"), done(call()), ended(output=[call()])],
    "last event without output": [
        *created(),
        done(message("two", id="msg_2"), 1),
        done(message("one")),
        ended(),
    ],
    "incomplete": [*created(), done(message("a")), ended("incomplete", output=[message("a")])],
    "failed": [*created(), ended("failed", error={"code": "rate_limit_exceeded", "message": "x"})],
    "cancelled": [*created(), ended("cancelled")],
    "nothing but the end": [ended(output=[message("a")])],
    "events after the end": [*spoken(["a"]), ended("failed"), done(message("b"))],
}


def the_end(events):
    """The one event, a run's end."""
    (end,) = events
    assert isinstance(end, RunEnded)
    return end


def as_bytes(events):
    """The events as an upstream sends them."""
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", STREAMS)
def test_the_end_is_the_same(kind, named):
    reader = RunEndReader(CONTEXT)
    told = fed(STREAMS[kind], reader, named=named)
    watched = the_end([event for event in fed(STREAMS[kind]) if isinstance(event, RunEnded)])
    end = the_end(told)
    assert (end.run, end.messages, end.sources) == (watched.run, watched.messages, watched.sources)
    assert reader.is_ended
    assert reader.response
    assert reader.response["id"] == RESPONSE["id"]
    assert reader.public_ids == ("thread_1", end.run["id"])


@pytest.mark.parametrize("kind", STREAMS)
def test_a_slice_that_holds_the_whole_end_tells_the_same(kind):
    reader = RunEndReader(CONTEXT)
    whole = STREAMS[kind][-1].get("response", {}).get("output")
    told = reader.end_of(as_bytes(STREAMS[kind]))
    assert bool(told) == reader.is_ended == bool(whole and len(STREAMS[kind]) > 1)
    if told:
        followed = the_end(fed(STREAMS[kind], RunEndReader(CONTEXT)))
        end = the_end(told)
        assert (end.run, end.messages, end.sources) == (followed.run, followed.messages, followed.sources)
        assert reader.end_of(as_bytes(STREAMS[kind])) == []


@pytest.mark.parametrize(
    "end",
    [
        text("more"),
        {"type": "response.completed"},
        {"type": "response.completed", "response": {"id": 7, "output": [message("a")]}},
        ended(output=[{"type": "message", "content": 7}]),
        ended(output=7),
    ],
)
def test_a_slice_that_ends_otherwise_is_read_in_its_turn(end):
    reader = RunEndReader(CONTEXT)
    assert reader.end_of(as_bytes([*created(), end])) == []
    assert (reader.is_ended, reader.response) == (False, None)


def test_only_what_it_wants_matters_to_it():
    events = [*spoken(["a", "b"]), text("late")]
    wanted = [bool(RunEndReader.wanted.fullmatch(event["type"].encode())) for event in events]
    left = [event if is_wanted else {"type": "x"} for event, is_wanted in zip(events, wanted, strict=True)]
    assert fed(left, RunEndReader(CONTEXT)) == fed(events, RunEndReader(CONTEXT))
    assert sum(wanted) < len(events) / 2


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_broken_stream_ends_with_what_was_looked_up(cut):
    stream = spoken(["Hel", "lo"])
    reader = RunEndReader(CONTEXT)
    assert fed(stream[:cut], reader) == []
    looked_up = the_end(reader.finish(RESPONSE | {"status": "completed", "output": [message("Hello")]}))
    followed = the_end(fed(stream, RunEndReader(CONTEXT)))
    assert looked_up.messages == followed.messages
    assert reader.finish(RESPONSE) == []


def test_a_failure_keeps_what_was_whole_already():
    reader = RunEndReader(CONTEXT)
    fed([*created(), done(message("kept"))], reader)
    end = the_end(reader.fail(FAILURE))
    assert end.run["status"] == "failed"
    assert end.messages[0]["content"][0]["text"]["value"] == "kept"
    assert reader.fail(FAILURE) == []


def test_a_failure_before_any_response():
    assert RunEndReader(CONTEXT).fail(FAILURE) == [StreamFailed(FAILURE)]
    (failed,) = fed([{"type": "error"}], RunEndReader(CONTEXT))
    assert isinstance(failed, StreamFailed)
    with pytest.raises(MalformedEventError):
        fed([*created(), {"type": "error"}], RunEndReader(CONTEXT))


def test_a_malformed_item_is_noticed_at_once_and_spoils_no_later_end():
    reader = RunEndReader(CONTEXT)
    for broken in ({"type": "message", "content": 7}, None):
        with pytest.raises(MalformedEventError):
            fed([*created(), done(broken)], reader)
        assert reader.last_sequence == 0
    end = the_end(reader.fail(FAILURE))
    assert (end.run["status"], end.messages) == ("failed", [])


def test_nothing_is_read_after_the_end():
    reader = RunEndReader(CONTEXT)
    fed([*created(), ended()], reader)
    assert reader.feed(b"", b"[DONE]") == []


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b'{"sequence_number": 3}', 3),
        (b'{"delta": {"text": "a"}, "item": 1, "sequence_number": 3}', 3),
        (b"{}", None),
        (b"", None),
        (b"[DONE]", None),
        (b'{"delta": "\xff", "sequence_number": 3}', None),
        (b'{"item": ' + b'{"a": ' * 100_000, None),
    ],
)
def test_the_number_of_an_event_that_nobody_checked(data, number):
    assert sequence_of(data) == number
