"""Server-sent events: an incremental decoder for what the upstream sends."""

import re
from collections.abc import Collection

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest single event taken from an upstream; a larger one is a fault, not an answer."""

Frame = tuple[bytes, bytes]
"""(event name, data) of one event, both raw; the name is empty where the server sends none."""


_USUAL = re.compile(rb"^event: ([^\n]*)\ndata: ([^\n]*)\n\n", re.MULTILINE)
"""Nearly every event is a line of name and one of data: those are read by one call for all."""


class SSEDecoder:
    """Cuts a byte stream into events, whatever the slices it arrives in.

    Args:
        skipped: names of events that nobody wants; they are dropped unread.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

    """

    __slots__ = ("_pieces", "_rest", "_rest_bytes", "_skipped")

    def __init__(self, skipped: Collection[bytes] = ()) -> None:
        self._rest = b""
        self._pieces: list[bytes] = []
        self._rest_bytes = 0
        self._skipped = skipped

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take a slice and return the events that it completes; raises `ValueError` over the limit."""
        if b"\n" not in chunk and b"\r" not in chunk and not self._rest.endswith(b"\r"):
            # Nothing ends here: a long event is put together once, not with every slice.
            self._pieces.append(chunk)
            self._grow(self._rest_bytes + len(chunk))
            return []
        text = b"".join((self._rest, *self._pieces, chunk))
        self._pieces.clear()
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = text.rfind(b"\n\n") + 2
        if end < 2:
            frames: list[Frame] = []
            self._rest = text + held
        else:
            frames, rest = _frames_of(text[:end])
            self._rest = rest + text[end:] + held
        self._grow(len(self._rest))
        return [frame for frame in frames if frame[0] not in self._skipped] if self._skipped else frames

    def _grow(self, size: int) -> None:
        self._rest_bytes = size
        if size > MAX_EVENT_BYTES:
            raise ValueError("an event of the upstream is over the limit")


def _frames_of(text: bytes) -> tuple[list[Frame], bytes]:
    """Return the events of whole blocks, and what only looked like the end of one."""
    frames: list[Frame] = _USUAL.findall(text)
    if len(frames) * 3 == text.count(b"\n"):
        return frames, b""
    *blocks, rest = text.split(b"\n\n")
    return [frame for block in blocks if (frame := _slow_frame_of(block))], rest


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
