"""Server-sent events: an incremental decoder for what the upstream sends."""

from collections.abc import Sequence
from functools import lru_cache

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest single event taken from an upstream; a larger one is a fault, not an answer."""

Frame = tuple[bytes, bytes]
"""(event name, data) of one event, both raw; the name is empty where the server sends none."""


class SSEDecoder:
    """Cuts a byte stream into events, whatever the slices it arrives in.

    Args:
        skipped: names of events that nobody wants, the most frequent first; they are dropped unread.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

    """

    __slots__ = ("_rest", "_skipped")

    def __init__(self, skipped: Sequence[str] = ()) -> None:
        self._rest = b""
        self._skipped = _heads(tuple(skipped))

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take a slice and return the events that it completes; raises `ValueError` over the limit."""
        text = self._rest + chunk
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = _wanted_blocks(text, self._skipped) if self._skipped else text.split(b"\n\n")
        self._rest = blocks.pop() + held
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ValueError("an event of the upstream is over the limit")
        return [frame for block in blocks if (frame := _frame_of(block))]


@lru_cache(maxsize=8)
def _heads(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(f"event: {name}\n".encode() for name in names)


def _wanted_blocks(text: bytes, skipped: tuple[bytes, ...]) -> list[bytes]:
    """Split into blocks and the unfinished rest; what is skipped is not even copied."""
    blocks, start = [], 0
    while (end := text.find(b"\n\n", start)) >= 0:
        if not text.startswith(skipped, start):
            blocks.append(text[start:end])
        start = end + 2
    blocks.append(text[start:])
    return blocks


def _frame_of(block: bytes) -> Frame | None:
    # Nearly every event is one line of name and one of data, so that form is read without a loop.
    head, found, data = block.partition(b"\ndata: ")
    if found and head.startswith(b"event: ") and block.count(b"\n") == 1:
        return head[7:], data
    return _slow_frame_of(block)


def _slow_frame_of(block: bytes) -> Frame | None:
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    # An event with nothing in it is none, says the standard: some servers keep a connection alive with it.
    whole = b"\n".join(data)
    return (name, whole) if whole else None
