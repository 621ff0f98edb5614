"""Server-sent events: an incremental decoder for what the upstream sends."""

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest single event taken from an upstream; a larger one is a fault, not an answer."""

Frame = tuple[bytes, bytes]
"""(event name, data) of one event, both raw; the name is empty where the server sends none."""

_MOST_HELD_BYTES = 8 * 1024
"""How much of an event `passes` holds: it looks at all of it again with every slice."""

_NAMED = re.compile(rb"^event: (.*)\ndata: (.*)\n\n", re.MULTILINE)
_BARE = re.compile(rb"^()data: (.+)\n\n", re.MULTILINE)
"""Nearly every event is a line of name, or none, and one of data: those are read by one call for all.

The empty group stands for the name that is not there.
"""

_TYPE = rb'\{"type": ?"'
"""How data begin that tell the event's name, where no line does."""

_ONE = re.compile(rb'(?:event: (.*)\n)?data: (?=(?:%b([^"\\\n]+)")?)(.*)\n\n' % _TYPE)

_DATA, _END = b"\ndata: ", b"\n\n"


def usual_event(name: bytes) -> re.Pattern[bytes]:
    """Return what matches a whole event of the usual form, from what matches its name."""
    return re.compile(rb'(?:event: (?:%b)\ndata: |data: (?=%b(?:%b)")).*\n\n' % (name, _TYPE, name))


def _is_bare(text: bytes, at: int = 0) -> bool:
    """Tell whether the event that begins there has no line of name."""
    return text.startswith(b"data: ", at)


class _Picking:
    """What matches any number of other events, then name and data of a wanted one."""

    def __init__(self, wanted: bytes) -> None:
        # Not possessive: before 3.11.5, Python takes too much where what is repeated can backtrack.
        others = rb"((?:event: (?!(?:%b)\n).+\ndata: .*\n\n)*)" % wanted
        self._named = re.compile(others + rb"(?:event: (.+)\ndata: (.*)\n\n)?")
        others = rb'((?:data: %b(?!(?:%b)")[^"\\\n]+".*\n\n)*)' % (_TYPE, wanted)
        one = rb'data: (?=(?:%b(%b)")?)(.+)\n\n' % (_TYPE, wanted)
        self._bare = re.compile(others + rb"(?:%b)?" % one)

    def match(self, text: bytes, at: int = 0) -> re.Match[bytes] | None:
        """Look at what begins there: group 1 holds the others, 2 and 3 name and data of the wanted one.

        An event without a name, in its line or as its `type`, counts as wanted: it has no group 2.
        """
        return (self._bare if _is_bare(text, at) else self._named).match(text, at)


_picking = lru_cache(maxsize=8)(_Picking)


@dataclass(frozen=True, slots=True)
class Middle:
    """How to tell, once the first wanted event came, that a slice lies before the next one.

    Args:
        last: what matches a whole event that shows by coming that no wanted one came before it.
        without: what is in the wanted events for which that does not hold.

    """

    last: re.Pattern[bytes]
    without: bytes

    def end_in(self, text: bytes, begin: int) -> int:
        """Return where the whole events end that begin there, if none of them is wanted for sure; else 0."""
        end = text.rfind(_END, begin)
        start = text.rfind(_END, begin, end) if end > begin else -1
        found = self.last.match(text, start + len(_END)) if start >= 0 else None
        end += len(_END)
        return end if found and found.end() == end and text.find(self.without, begin) < 0 else 0


class SSEDecoder:
    """Cuts a byte stream into events, whatever the slices it arrives in.

    Args:
        wanted: what matches the names of the only events that are returned; None for all. Of those without a
            line of name, others are returned too where their data do not begin with their `type`, or come
            behind an event of an unusual form.
        middle: what tells of many events at a glance that none of them is wanted.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

    """

    __slots__ = (
        "_has_begun",
        "_middle",
        "_picking",
        "_pieces",
        "_rest",
        "_rest_bytes",
        "_wanted",
        "last_dropped",
    )

    def __init__(self, wanted: re.Pattern[bytes] | None = None, middle: Middle | None = None) -> None:
        self._has_begun = False
        self._rest = b""
        self._pieces: list[bytes] = []
        self._rest_bytes = 0
        self._wanted = wanted
        self._middle = middle
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

    @property
    def holds_part(self) -> bool:
        """Whether an event has come in part."""
        return self._rest_bytes > 0

    def passes(self, chunk: bytes) -> bool:
        """Take the next slice if it completes no event to return, and tell so; else leave it to `feed`.

        Part of an event is kept, so every slice is to be given to the one or the other before the next.
        """
        if self._picking is None or self._pieces:
            return False
        text = self._rest + chunk
        end = self._end_of_unwanted(text, self._picking) if _END in text else 0
        if len(text) - end > _MOST_HELD_BYTES or b"\r" in text or _END in text[end:]:
            return False
        if end:
            self._drop(text, end)
        self._rest = text[end:]
        self._rest_bytes = len(self._rest)
        return True

    def _end_of_unwanted(self, text: bytes, picking: _Picking) -> int:
        if end := self._middle_end(text, 0):
            return end
        found = picking.match(text)
        return found.end(1) if found else 0

    def _middle_end(self, text: bytes, begin: int) -> int:
        return self._middle.end_in(text, begin) if self._middle is not None and self._has_begun else 0

    def _frames_of(self, text: bytes) -> tuple[list[Frame], bytes]:
        """Return the events of whole blocks, and what only looked like the end of one."""
        if self._picking is not None:
            frames, read = self._picked(self._picking, text)
        else:
            usual, lines = (_BARE, 2) if _is_bare(text) else (_NAMED, 3)
            frames = usual.findall(text)
            read = len(text) if len(frames) * lines == text.count(b"\n") else 0
        if read == len(text):
            return frames, b""
        *blocks, rest = text[read:].split(b"\n\n")
        slow = [frame for block in blocks if (frame := _slow_frame_of(block))]
        return (frames if read else []) + self._only_wanted(slow), rest

    def _picked(self, picking: _Picking, text: bytes) -> tuple[list[Frame], int]:
        """Return the wanted events before the first one in an unusual form, and where that begins."""
        frames: list[Frame] = []
        at = dropped_to = 0
        while (found := picking.match(text, at)) and found.end() > at:
            if found.end(1) > at:
                dropped_to = found.end(1)
            at = found.end()
            if found[3] is not None:
                frames.append((found[2] or b"", found[3]))
                self._has_begun = self._has_begun or found[2] is not None
            if end := self._middle_end(text, at):
                at = dropped_to = end
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
    at = chunk.rfind(_END, 0, -len(_END))
    found = _ONE.fullmatch(chunk, at + len(_END)) if at >= 0 else None
    return (found[1] or found[2] or b"", found[3]) if found else None


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
