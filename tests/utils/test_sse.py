"""The decoder gives the same events for every way of cutting the bytes."""

import pytest

from app.utils.sse import MAX_EVENT_BYTES, SSEDecoder

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
ENDINGS = [b"\n", b"\r\n", b"\r"]


def decoded(*chunks):
    decoder = SSEDecoder()
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


@pytest.mark.parametrize("nothing", [b"data: \n\n", b"data:\n\n", b": \n\n", b"event: x\n\n"])
def test_an_event_without_data_is_none(nothing):
    said = b"data: 1\n\n"
    assert decoded(nothing * 2) == []
    assert decoded(nothing, said, nothing) == [(b"", b"1")]


def test_a_torn_event_takes_nothing_with_it():
    assert decoded(b'data: {"type":"a\n\ndata: 1\n\n') == [(b"", b'{"type":"a'), (b"", b"1")]


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    assert decoded(b"\xef\xbb", b"\xbfdata: 1\n\n") == [(b"", b"1")]


def test_keep_alive_comments_never_add_up_to_an_event_that_is_too_large():
    decoder = SSEDecoder()
    comments = b": ka\n" * 200_000
    for _ in range(MAX_EVENT_BYTES // len(comments) + 2):
        assert decoder.feed(comments) == []
    assert decoder.feed(b"data: 1\n\n") == [(b"", b"1")]


def test_an_event_that_has_not_ended_is_not_told():
    assert decoded(b"data: 1\n\ndata: 2\n") == [(b"", b"1")]


def test_an_event_up_to_the_limit_passes_and_one_over_it_does_not():
    body = b"x" * (MAX_EVENT_BYTES - 8)
    assert decoded(b"data: ", body, b"\n\n") == [(b"", body)]
    with pytest.raises(ValueError, match="over the limit"):
        decoded(b"data: ", body, b"more than that")


def test_an_event_of_many_lines_is_bounded_too():
    line = b"data: " + b"x" * 1_000_000 + b"\n"
    with pytest.raises(ValueError, match="over the limit"):
        decoded(*[line] * (MAX_EVENT_BYTES // 1_000_000 + 1))
