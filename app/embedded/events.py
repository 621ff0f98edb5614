"""The event log of one response: typed events in, numbered SSE frames out."""

from collections.abc import Mapping
from typing import Any

import orjson


class EventLog:
    """Frames of one stream; the index of a frame is its sequence number."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def add(self, name: str, fields: Mapping[str, Any]) -> None:
        """Append an event of any type."""
        self.frames.append(self.encode(name, fields))

    def encode(self, name: str, fields: Mapping[str, Any]) -> bytes:
        """The next frame, not yet appended."""
        body = orjson.dumps({"type": name, **fields, "sequence_number": len(self.frames)})
        return b"event: %b\ndata: %b\n\n" % (name.encode(), body)

    def add_delta(self, head: bytes, delta: str, tail: bytes) -> None:
        """Append a delta from the two halves that `delta_template` made: the hot path."""
        self.frames.append(b"%b%b%b%d}\n\n" % (head, orjson.dumps(delta), tail, len(self.frames)))


def delta_template(name: str, fields: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Bytes before and after the delta's text; `fields` stand before it, `after` behind."""
    before = orjson.dumps({"type": name, **fields})[:-1]
    behind = orjson.dumps(after)[1:-1]
    separator = b"," if behind else b""
    head = b'event: %b\ndata: %b,"delta":' % (name.encode(), before)
    return head, b"%b%b,%b" % (separator, behind, b'"sequence_number":')
