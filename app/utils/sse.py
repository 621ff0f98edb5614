"""Server-sent events: an incremental decoder for what the upstream sends."""

import re
from functools import lru_cache

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest single event taken from an upstream; a larger one is a fault, not an answer."""

Frame = tuple[bytes, bytes]
"""(event name, data) of one event, both raw; the name is empty where the server sends none."""


_USUAL = re.compile(rb"^event: (.*)\ndata: (.*)\n\n", re.MULTILINE)
"""Nearly every event is a line of name and one of data: those are read by one call for all."""

_DATA, _END = b"\ndata: ", b"\n\n"


class SSEDecoder:
    """Cuts a byte stream into events, whatever the slices it arrives in.

    Args:
        wanted: what matches the names of the only events that are returned; None for all. What has no name
            is returned.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

    """

    __slots__ = ("_picking", "_pieces", "_rest", "_rest_bytes", "_wanted", "last_dropped")

    def __init__(self, wanted: re.Pattern[bytes] | None = None) -> None:
        self._rest = b""
        self._pieces: list[bytes] = []
        self._rest_bytes = 0
        self._wanted = wanted
        self._picking = _picking(wanted.pattern) if wanted is not None else None
        self.last_dropped = b""
        """Data of the last event that nobody wanted."""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take a slice and return the events that it completes; raises `ValueError` over the limit."""
        if b"\n" not in chunk and b"\r" not in chunk and not self._rest.endswith(b"\r"):
            # Nothing ends here: a long event is put together once, not with every slice.
            self._pieces.append(chunk)
            self._grow(self._rest_bytes + len(chunk))
            return []
        text = b"".join((self._rest, *self._pieces, chunk)) if self._rest_bytes else chunk
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
            frames, rest = self._frames_of(text[:end])
            self._rest = rest + text[end:] + held
        self._grow(len(self._rest))
        return frames

    def passes(self, chunk: bytes) -> bool:
        """Tell whether a slice is nothing but whole events that nobody wants; then it need not be fed."""
        if self._picking is None or self._rest_bytes or b"\r" in chunk:
            return False
        found = self._picking.match(chunk)
        if not chunk or found is None or found.end(1) != len(chunk):
            return False
        self._drop(chunk, len(chunk))
        return True

    def _frames_of(self, text: bytes) -> tuple[list[Frame], bytes]:
        """Return the events of whole blocks, and what only looked like the end of one."""
        if self._picking is not None:
            frames, read = self._picked(self._picking, text)
        else:
            frames = _USUAL.findall(text)
            read = len(text) if len(frames) * 3 == text.count(b"\n") else 0
        if read == len(text):
            return frames, b""
        *blocks, rest = text[read:].split(b"\n\n")
        slow = [frame for block in blocks if (frame := _slow_frame_of(block))]
        return (frames if read else []) + self._only_wanted(slow), rest

    def _picked(self, picking: re.Pattern[bytes], text: bytes) -> tuple[list[Frame], int]:
        """Return the wanted events before the first one in an unusual form, and where that begins."""
        frames: list[Frame] = []
        at = dropped_to = 0
        while (found := picking.match(text, at)) and found.end() > at:
            if found.end(1) > at:
                dropped_to = found.end(1)
            if found[2] is not None:
                frames.append((found[2], found[3]))
            at = found.end()
        if dropped_to:
            self._drop(text, dropped_to)
        return frames, at

    def _drop(self, text: bytes, end: int) -> None:
        self.last_dropped = text[text.rfind(_DATA, 0, end) + len(_DATA) : end - len(_END)]

    def _only_wanted(self, frames: list[Frame]) -> list[Frame]:
        if self._wanted is None:
            return frames
        left = []
        for frame in frames:
            if not frame[0] or self._wanted.fullmatch(frame[0]):
                left.append(frame)
            else:
                self.last_dropped = frame[1]
        return left

    def _grow(self, size: int) -> None:
        self._rest_bytes = size
        if size > MAX_EVENT_BYTES:
            raise ValueError("an event of the upstream is over the limit")


def last_frame(chunk: bytes) -> Frame | None:
    """Return the event that a slice ends with, if others end before it there.

    None where it is not whole or has no usual form, or where nothing in the slice tells that it begins there.
    """
    at = chunk.rfind(_END + b"event: ", 0, -len(_END))
    found = _USUAL.fullmatch(chunk, at + len(_END)) if at >= 0 else None
    return (found[1], found[2]) if found else None


@lru_cache(maxsize=8)
def _picking(wanted: bytes) -> re.Pattern[bytes]:
    """Return what matches any number of other events, then name and data of a wanted one."""
    others = rb"((?:event: (?!(?:%b)\n).+\ndata: .*\n\n)*+)" % wanted
    return re.compile(others + rb"(?:event: (.+)\ndata: (.*)\n\n)?")


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
