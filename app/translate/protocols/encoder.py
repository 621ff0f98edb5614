"""The contract between a stream and its protocol, and the helpers that several encoders share."""

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

import orjson

from app.translate.events import DomainEvent, Json, RunEnded, StreamFailed, TextDelta

SSE_HEADERS: Mapping[str, str] = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
"""Keep proxies from holding back or compressing a stream."""

PARAGRAPH = "\n\n"
"""What stands between two parts of an answer where a protocol knows only one text."""

_BROKEN_OFF = frozenset({"failed", "expired", "cancelled"})
_ERROR_TYPES = {"rate_limit_exceeded": "rate_limit_error", "invalid_prompt": "invalid_request_error"}


class Encoder(Protocol):
    """Turns the domain events of one stream into one protocol's bytes; made anew for every stream.

    `encode` may return nothing for an event. `close` returns what ends the stream and is called exactly once,
    after `RunEnded` or `StreamFailed`. `keepalive` is what may be sent between two results of `encode` while
    nothing happens. An encoder with `aborts_on_failure` has no words for a failure: where `is_broken_off`
    tells so, the connection has to be broken off instead of closed.
    """

    media_type: str
    headers: Mapping[str, str]
    keepalive: bytes
    aborts_on_failure: bool

    def encode(self, event: DomainEvent) -> bytes:
        """Return the frames of one event."""
        ...

    def close(self) -> bytes:
        """Return the frames that end the stream."""
        ...


class EventStreamEncoder:
    """What the protocols over server-sent events share."""

    media_type: str = "text/event-stream"
    headers: Mapping[str, str] = SSE_HEADERS
    # No blank line after it: openai-python takes the empty event that would follow for JSON.
    keepalive: bytes = b": ka\n"
    aborts_on_failure: bool = False

    def close(self) -> bytes:
        """Return nothing: most protocols end with their own terminal event."""
        return b""


class Paragraphs:
    """Sets the parts of an answer apart where all deltas flow into one text, as `answer_text` joins them."""

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
    """Serialise to UTF-8; a lone surrogate, which UTF-8 cannot hold, is written as its JSON escape."""
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
    """Put `id: sequence` into the last of the frames, so that a client which got them all resumes after."""
    if sequence is None or not frames:
        return frames
    head, blank, last = frames[:-2].rpartition(b"\n\n")
    return b"%b%bid: %d\n%b\n\n" % (head, blank, sequence, last)


def answer_text(messages: Iterable[Json]) -> str:
    """Return all text and refusal parts of public messages as one text, a blank line between two parts."""
    texts = (_part_text(part) for message in messages for part in message["content"])
    return PARAGRAPH.join(text for text in texts if text)


def usage_counts(run: Json) -> Json | None:
    """Return the run's `{prompt_tokens, completion_tokens, total_tokens}`, or None while they are unknown."""
    usage = run.get("usage")
    return (
        {key: usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")} if usage else None
    )


def run_error(run: Json) -> Json:
    """Return the wire's `{message, type, param, code}` for a run that failed or expired."""
    cause = run.get("last_error") or {}
    expired = run["status"] == "expired"
    code = cause.get("code") or ("expired" if expired else "server_error")
    message = cause.get("message") or f"The run {'expired before it finished' if expired else 'failed'}."
    return {"message": message, "type": _ERROR_TYPES.get(code, "server_error"), "param": None, "code": code}


def is_broken_off(event: DomainEvent) -> bool:
    """Tell whether the event ends a stream whose answer is not whole: failed, expired or cancelled."""
    return isinstance(event, StreamFailed) or (
        isinstance(event, RunEnded) and event.run["status"] in _BROKEN_OFF
    )


def _part_text(part: Json) -> str:
    if part["type"] == "text":
        return str(part["text"]["value"])
    return str(part["refusal"]) if part["type"] == "refusal" else ""
