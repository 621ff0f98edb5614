"""Server-sent events: an incremental decoder for what the upstream sends."""

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Largest single event taken from an upstream; a larger one is a fault, not an answer."""

Frame = tuple[bytes, bytes]
"""(event name, data) of one event, both raw; the name is empty where the server sends none."""


class SSEDecoder:
    """Cuts a byte stream into events, whatever the slices it arrives in.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take a slice and return the events that it completes; raises `ValueError` over the limit."""
        text = self._rest + chunk
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = text.split(b"\n\n")
        self._rest = blocks.pop() + held
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ValueError("an event of the upstream is over the limit")
        return [frame for block in blocks if (frame := _frame_of(block))]


def _frame_of(block: bytes) -> Frame | None:
    if block.startswith(b"event: "):
        head, found, data = block.partition(b"\ndata: ")
        if found and b"\n" not in data and b"\n" not in head:
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
    return (name, b"\n".join(data)) if data else None
