"""An incremental decoder for the upstream's server-sent events."""

# No real event is larger, and an endless one would fill the memory.
MAX_EVENT_BYTES = 16 * 1024 * 1024
# One event's name, which may be empty, and data.
Frame = tuple[bytes, bytes]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SSEDecoder:
    """Splits a byte stream into events; chunks may end anywhere.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    __slots__ = ("_data", "_data_bytes", "_ends_in_cr", "_has_begun", "_line", "_line_bytes", "_name")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._ends_in_cr = False
        self._has_begun = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Add a chunk and return the events that it completes; raises `ValueError` over the limit."""
        if not chunk:
            return []
        if self._ends_in_cr:
            # The second half of a CRLF, whose CR has ended the line already.
            chunk = chunk.removeprefix(b"\n")
        self._ends_in_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        frames: list[Frame] = []
        line, *others = chunk.split(b"\n")
        for following in others:
            if self._line:
                # Joining the pieces of a long line once keeps it linear.
                line = b"".join((*self._line, line))
                self._line.clear()
            if not self._has_begun:
                self._has_begun = True
                line = line.removeprefix(_BYTE_ORDER_MARK)
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._data_bytes += len(value)
            elif field == b"event":
                self._name = value.removeprefix(b" ")
            elif not line:
                # The standard drops events without data, which some servers send to keep connections alive.
                if data := b"\n".join(self._data):
                    frames.append((self._name, data))
                self._name, self._data, self._data_bytes = b"", [], 0
            line = following
        self._line_bytes = len(line) + (0 if others else self._line_bytes)
        if line:
            self._line.append(line)
        if self._data_bytes + self._line_bytes > MAX_EVENT_BYTES:
            raise ValueError("an event of the upstream is over the limit")
        return frames
