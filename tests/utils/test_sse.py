"""The decoder gives the same events for every way of cutting the bytes."""

import re

import pytest

from app.utils.sse import MAX_EVENT_BYTES, Middle, SSEDecoder, last_frame, usual_event

STREAM = (
    'event: response.created\ndata: {"a": 1}\n\n'
    ": a comment\n\n"
    "data: né 文 🙂\n\n"
    "data: one\ndata: two\n\n"
    "id: 7\nevent: named\nretry: 5\ndata:no space\n\n"
    "event: without data\n\n"
    "data\n\n"
    "data:\n\n"
    "data: \n\n"
    "data: a: b: c\n\n"
).encode()
EVENTS = [
    (b"response.created", b'{"a": 1}'),
    (b"", "né 文 🙂".encode()),
    (b"", b"one\ntwo"),
    (b"named", b"no space"),
    (b"", b"a: b: c"),
]
WANTED = re.compile(rb"a\.delta\.more|b")
ENDINGS = [b"\n", b"\r\n", b"\r"]


def decoded(*chunks, wanted=None):
    decoder = SSEDecoder(wanted)
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_stream_in_one_piece(ending):
    # A lone CR may be half of a CRLF, so it needs another byte to be sure of the last event.
    assert decoded(STREAM.replace(b"\n", ending), b":\n") == EVENTS


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_cut_at_every_offset(ending):
    stream = STREAM.replace(b"\n", ending)
    for at in range(len(stream) + 1):
        assert decoded(stream[:at], stream[at:], b":\n") == EVENTS, at


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_slices_of_one_size(ending, size):
    stream = STREAM.replace(b"\n", ending)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert decoded(*pieces, b":\n") == EVENTS


@pytest.mark.parametrize("wanted", [None, WANTED])
@pytest.mark.parametrize("nothing", [b"data: \n\n", b"data:\n\n", b": \n\n"])
def test_an_event_without_data_is_none(wanted, nothing):
    said = b'data: {"type":"b"}\n\n'
    name = b"" if wanted is None else b"b"
    for text in (nothing, nothing * 2):
        assert decoded(text, wanted=wanted) == []
        assert decoded(said + text, wanted=wanted)[0][1] == b'{"type":"b"}'
        assert decoded(text + said, wanted=wanted)[-1][1] == b'{"type":"b"}'
    assert decoded(said, wanted=wanted) == [(name, b'{"type":"b"}')]


def test_a_torn_event_takes_nothing_with_it():
    torn, whole = b'data: {"type":"a', b'data: {"type":"b"}\n\n'
    assert decoded(torn + b"\n\n" + whole, wanted=WANTED) == [(b"", torn[6:]), (b"b", whole[6:-2])]
    assert last_frame(whole + torn + b"\n\n") == (b"", torn[6:])


def test_an_event_that_has_not_ended_is_not_told():
    assert decoded(b"data: 1\n\ndata: 2\n") == [(b"", b"1")]


def test_an_event_up_to_the_limit_passes_and_one_over_it_does_not():
    body = b"x" * (MAX_EVENT_BYTES - 8)
    assert decoded(b"data: ", body, b"\n\n") == [(b"", body)]
    with pytest.raises(ValueError, match="over the limit"):
        decoded(b"data: ", body, b"more than that")


MIXED = (
    b"event: a.delta\ndata: 1\n\n"
    b"event: a.delta.more\ndata: 2\n\n"
    b": a comment\n\n"
    b"event: b\ndata: 3\n\n"
    b"data: 4\n\n"
    b"event: a.delta\ndata: 5\n\n"
    b"id: 1\nevent: b\ndata: 6\n\n"
    b"event: a\ndata: 7\n\n"
)
PICKED = [(b"a.delta.more", b"2"), (b"b", b"3"), (b"", b"4"), (b"b", b"6")]


def test_only_wanted_events_are_returned_whatever_the_slices():
    for at in range(len(MIXED) + 1):
        assert decoded(MIXED[:at], MIXED[at:], wanted=WANTED) == PICKED, at


@pytest.mark.parametrize(("end", "dropped"), [(14, b""), (26, b"1"), (100, b"1"), (len(MIXED), b"7")])
def test_the_last_event_that_was_dropped_is_known(end, dropped):
    decoder = SSEDecoder(WANTED)
    decoder.feed(MIXED[:end])
    assert decoder.last_dropped == dropped


@pytest.mark.parametrize(
    ("chunk", "frame"),
    [
        (b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", (b"b", b"2")),
        (b"...half an event\n\nevent: b\ndata: 2\n\n", (b"b", b"2")),
        (b"x\n\nevent: b\ndata: 2\n\ndata: [DONE]\n\n", (b"", b"[DONE]")),
        (b'x\n\ndata: {"type":"b"}\n\n', (b"b", b'{"type":"b"}')),
        (b'x\n\nevent: a\ndata: {"type": "b"}\n\n', (b"a", b'{"type": "b"}')),
        (b'x\n\ndata: {"n":1,"type":"b"}\n\n', (b"", b'{"n":1,"type":"b"}')),
        (b'x\n\ndata: {"type":"b\\u0063"}\n\n', (b"", b'{"type":"b\\u0063"}')),
        (b"x\n\nevent: b\ndata: 2\n\nevent: c\ndata: 3\n", None),
        (b"x\n\nevent: b\ndata: 2\ndata: 3\n\n", None),
        (b"x\n\nevent: b\nid: 1\ndata: 2\n\n", None),
        (b"x\r\n\r\nevent: b\r\ndata: 2\r\n\r\n", None),
        (b"event: b\ndata: 2\n\n", None),
        (b"\n\n", None),
        (b"", None),
    ],
)
def test_the_event_that_a_slice_ends_with(chunk, frame):
    assert last_frame(chunk) == frame


@pytest.mark.parametrize(
    ("chunk", "dropped"),
    [
        (b"event: a\ndata: 1\n\n", b"1"),
        (b"event: a\ndata: 1\n\nevent: a.delta\ndata: 2\n\n", b"2"),
        (b"event: a\ndata: 1\n\nevent: a\ndata: 2\n", b"1"),
        (b"event: a\ndata: 1\n\nevent: b\ndata: 2\n", b"1"),
        (b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", None),
        (b"event: a\ndata: 1\ndata: 2\n\n", None),
        (b"event: a\ndata: 1\revent: b\rdata: 2\r\rdata: 3\n\n", None),
        (b"event: a\ndata: 1\n\nevent: b\ndata: " + b"x" * 20_000, None),
        (b'data: {"type":"a"}\n\n', b'{"type":"a"}'),
        (b'data: {"type": "a"}\n\ndata: {"type": "a.delta"}\n\n', b'{"type": "a.delta"}'),
        (b'data: {"type":"a"}\n\ndata: {"type":"b"}\n', b'{"type":"a"}'),
        (b'data: {"type":"a"}\n\ndata: {"type":"b"}\n\n', None),
        (b'data: {"type":"bb","n":"b"}\n\n', b'{"type":"bb","n":"b"}'),
        (b'data: {"type":"a",\ndata: "b":1}\n\n', None),
        (b'data: {"type":"a"}\n\nevent: a\ndata: 1\n\n', None),
        (b"data: 1\n\n", None),
        (b": a comment\n\n", None),
    ],
)
def test_a_slice_that_completes_nothing_wanted(chunk, dropped):
    decoder = SSEDecoder(WANTED)
    assert decoder.passes(chunk) == (dropped is not None)
    assert decoder.last_dropped == (dropped or b"")
    assert not SSEDecoder().passes(chunk)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_what_passes_takes_is_not_lost(newline):
    text = MIXED.replace(b"\n", newline)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            decoder = SSEDecoder(WANTED)
            frames = []
            for chunk in (text[:first], text[first:second], text[second:]):
                if not decoder.passes(chunk):
                    frames += decoder.feed(chunk)
            assert (frames, decoder.last_dropped) == (PICKED, b"7"), (first, second)


ENDS = re.compile(rb"begun|item|end")
MIDDLE = Middle(last=usual_event(rb"[a-z.]+\.delta"), without=b"item")
RUN = (
    b"event: a.delta\ndata: 0\n\n"
    b"event: begun\ndata: 1\n\n"
    b"event: a.delta\ndata: 2\n\n"
    b"event: a.delta\ndata: 3\n\n"
    b"event: item\ndata: 4\n\n"
    b"event: a.delta\ndata: 5\n\n"
    b"data: item 6\n\n"
    b"event: a.delta\ndata: 7\n\n"
    b"event: other\ndata: 8\n\n"
    b"event: end\ndata: 9\n\n"
)
BARE_RUN = re.sub(rb"event: (.+)\ndata: (\d)", rb'data: {"type":"\1","n":\2}', RUN)
EVENT_PAIRS = zip(RUN.split(b"\n\n"), BARE_RUN.split(b"\n\n"), strict=True)
MIXED_RUN = b"\n\n".join(pair[number % 2] for number, pair in enumerate(EVENT_PAIRS))


def number_in(data: bytes) -> bytes:
    return data[-2:-1] if data.endswith(b"}") else data


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("run", [RUN, BARE_RUN, MIXED_RUN])
def test_a_glance_at_the_middle_of_a_stream_misses_nothing(run, newline):
    text = run.replace(b"\n", newline)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            decoder = SSEDecoder(ENDS, MIDDLE)
            frames = []
            for chunk in (text[:first], text[first:second], text[second:]):
                if not decoder.passes(chunk):
                    frames += decoder.feed(chunk)
            told = [number_in(data) for _, data in frames]
            assert told == [b"1", b"4", b"item 6", b"9"], (first, second)
            assert number_in(decoder.last_dropped) == b"8"


def test_what_comes_before_the_beginning_of_a_stream_is_not_taken_for_it():
    decoder = SSEDecoder(ENDS, MIDDLE)
    assert decoder.feed(b"data: hello\n\n") == [(b"", b"hello")]
    begins = b"event: begun\ndata: 1\n\nevent: a.delta\ndata: 2\n\n"
    assert not decoder.passes(begins)
    assert decoder.feed(begins) == [(b"begun", b"1")]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"event: begun\ndata: 1\n\nevent: a.delta\ndata: 2\n\neve", 46),
        (b"event: item\ndata: 1\n\nevent: a.delta\ndata: 2\n\n", 0),
        (b"event: a.delta\ndata: 2\n\nevent: other\ndata: 1\n\n", 0),
        (b"event: a.delta\ndata: 2\n\nevent: a.delta\ndata: 2\n", 0),
        (b"event: a.delta\ndata: 2\n\nevent: a.delta\ndata: 2\nid: 3\n\n", 0),
        (b"event: a.delta\ndata: 2\n\nevent: a.delta\ndata:2\n\n", 0),
        (b"event: a.delta\ndata: 2\n\n", 0),
        (b"", 0),
    ],
)
def test_where_the_middle_of_a_stream_ends(text, end):
    assert MIDDLE.end_in(text, 0) == end
