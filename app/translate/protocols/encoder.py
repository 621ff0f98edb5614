"""The base class of all protocols, and the helpers that several of them share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import orjson

from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed, TextDelta
from app.translate.failures import FAILED

SSE_HEADERS: Mapping[str, str] = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""Keep proxies from holding back or compressing a stream."""

PARAGRAPH = "\n\n"
"""Separates the parts of an answer where a protocol has only one text."""

_BROKEN_OFF = frozenset({"failed", "expired", "cancelled"})


class Encoder(ABC):
    """Turns the domain events of one stream into the bytes of one protocol; create one for each stream.

    The defaults fit protocols over server-sent events.
    """

    media_type: str = "text/event-stream"
    headers: Mapping[str, str] = SSE_HEADERS
    # No blank line after it: openai-python would take the empty event that follows for JSON.
    keepalive: bytes = b": ka\n"
    """What may be sent between two results of `encode` while nothing happens."""
    aborts_on_failure: bool = False
    """Whether the protocol cannot express a failure: then abort the connection where `is_broken_off`."""

    @abstractmethod
    def encode(self, event: DomainEvent) -> bytes:
        """Return the frames of one event, or nothing."""

    def close(self) -> bytes:
        """Return what ends the stream; call it once, after `RunEnded` or `StreamFailed`."""
        return b""


class Paragraphs:
    """Separates the parts of an answer in a single stream of text, as `answer_text` does in a message."""

    __slots__ = ("_index", "_message_id")

    def __init__(self) -> None:
        self._message_id = ""
        self._index = 0

    def text(self, event: TextDelta) -> str:
        """Return the delta's text, after a blank line where another part or message begins."""
        if not event.text or (event.message_id == self._message_id and event.index == self._index):
            return event.text
        is_first = not self._message_id
        self._message_id, self._index = event.message_id, event.index
        return event.text if is_first else PARAGRAPH + event.text


def dump_json(value: object) -> bytes:
    """Serialise to UTF-8; a lone surrogate, which UTF-8 cannot represent, becomes its JSON escape."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def data_frame(value: object) -> bytes:
    """Return one server-sent event that has data and no name."""
    return b"data: " + dump_json(value) + b"\n\n"


def event_frame(name: bytes, value: object) -> bytes:
    """Return one named server-sent event."""
    return b"event: " + name + b"\ndata: " + dump_json(value) + b"\n\n"


def with_event_id(frames: bytes, sequence: int | None) -> bytes:
    """Put `id: sequence` into the last frame, so that a client with all of them resumes after it."""
    # Before the last frame, a client that breaks off would resume behind frames that it did not get.
    if sequence is None or not frames:
        return frames
    head, blank, last = frames[:-2].rpartition(b"\n\n")
    return b"%b%bid: %d\n%b\n\n" % (head, blank, sequence, last)


def answer_text(messages: Iterable[Json]) -> str:
    """Return all text and refusal parts of public messages as one text, separated by blank lines."""
    texts = (_part_text(part) for message in messages for part in message["content"])
    return PARAGRAPH.join(text for text in texts if text)


def usage_counts(run: Json) -> Json | None:
    """Return the run's `{prompt_tokens, completion_tokens, total_tokens}`; None while they are unknown."""
    usage = run.get("usage")
    return (
        {key: usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")} if usage else None
    )


def run_error(ended: RunEnded) -> Json:
    """Return the wire's `{message, type, param, code}` for a run that failed or expired."""
    return (ended.failure or FAILED).error()


def is_broken_off(event: DomainEvent) -> bool:
    """Return whether the event ends a stream with an incomplete answer: failed, expired or cancelled."""
    return isinstance(event, StreamFailed) or (
        isinstance(event, RunEnded) and event.run["status"] in _BROKEN_OFF
    )


def _part_text(part: Json) -> str:
    if part["type"] == "text":
        return str(part["text"]["value"])
    return str(part["refusal"]) if part["type"] == "refusal" else ""
