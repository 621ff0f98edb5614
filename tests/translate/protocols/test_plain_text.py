"""Bare text."""

import pytest

from app.translate.events import DomainEvent, MessageEnded, RunCreated, RunEnded, StreamFailed, TextDelta
from app.translate.protocols.encoder import is_broken_off
from app.translate.protocols.plain_text import TextEncoder


def encode(*events: DomainEvent) -> bytes:
    encoder = TextEncoder()
    return b"".join(encoder.encode(event) for event in events) + encoder.close()


def test_only_text_comes_through():
    frames = encode(
        RunCreated({"id": "run_1"}),
        TextDelta("msg_1", 0, "Hé "),
        TextDelta("msg_1", 0, "you"),
        MessageEnded({"id": "msg_1"}),
        TextDelta("msg_2", 0, "No.", "refusal"),
        RunEnded({"id": "run_1", "status": "completed"}),
    )
    assert frames == "Hé you\n\nNo.".encode()


def test_resumed_stream_begins_without_a_blank_line():
    assert encode(TextDelta("msg_1", 1, "you"), TextDelta("msg_1", 1, "!")) == b"you!"


def test_lone_surrogate_does_not_break_the_stream():
    assert encode(TextDelta("msg_1", 0, "a\ud83d")) == b"a?"


def test_says_nothing_between_words():
    assert (TextEncoder.keepalive, TextEncoder.media_type) == (b"", "text/plain")


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_unwhole_answers_break_off_in_silence(status):
    ended = RunEnded({"id": "run_1", "status": status})
    assert TextEncoder.aborts_on_failure
    assert is_broken_off(ended)
    assert encode(TextDelta("msg_1", 0, "Hi"), ended) == b"Hi"


def test_lost_upstream_breaks_off():
    assert is_broken_off(StreamFailed({"message": "Gone."}))


@pytest.mark.parametrize("status", ["completed", "incomplete", "requires_action"])
def test_other_endings_do_not_break_off(status):
    assert not is_broken_off(RunEnded({"id": "run_1", "status": status}))
