"""A small real bar chart as PNG, and the answer that carries it."""

import asyncio
import re
import struct
import zlib
from collections.abc import AsyncGenerator, Sequence

from app.embedded.responders.base import Annotation, HostedTool, Piece, TextDelta, Turn
from app.embedded.responders.tokens import tokens_of

_WIDTH, _HEIGHT, _MARGIN = 480, 300, 24
_WHITE, _AXIS = b"\xff\xff\xff", b"\x33\x33\x33"
_COLOURS = (b"\x2f\x6f\xde", b"\xe0\x7a\x1f", b"\x2c\x9c\x69", b"\xb0\x3a\x8c")
_WANTS_CHART = re.compile(r"\b(chart|plot|graph|diagram)\b|차트|그래프", re.IGNORECASE)
_PAIR = re.compile(r"([^\W\d_]\w*)\s*[:=]?\s*(\d+(?:\.\d+)?)")
_MAX_BARS = 12
_FILENAME = "chart.png"


def wants_chart(turn: Turn) -> bool:
    """Whether the prompt asks for a chart and code interpreter is offered."""
    return turn.has_tool("code_interpreter") and bool(_WANTS_CHART.search(turn.prompt))


def chart_values(prompt: str) -> dict[str, float]:
    """`label number` pairs of the prompt; without any, the length of each of its words."""
    pairs = {label: float(number) for label, number in _PAIR.findall(prompt)}
    if not pairs:
        pairs = {word: float(len(word)) for word in re.findall(r"\w+", prompt)}
    return dict(list(pairs.items())[:_MAX_BARS])


async def chart_pieces(turn: Turn, intro: str) -> AsyncGenerator[Piece, None]:
    """Draws the chart into a container; the call, the text with its link, the citation."""
    values = chart_values(turn.prompt)
    png = await asyncio.to_thread(draw_bars, list(values.values()))
    container_id, file_id = await turn.resources.make_file(_FILENAME, png)
    code = f"bar_chart({values!r}, {_FILENAME!r})"
    call = {"type": "code_interpreter_call", "code": code, "container_id": container_id}
    logs = {"type": "logs", "logs": f"{_FILENAME}: {len(values)} bars\n"}
    yield HostedTool("ci", {**call, "outputs": [logs]})
    head, link = f"{intro} [{_FILENAME}](", f"sandbox:/mnt/data/{_FILENAME}"
    for token in tokens_of(f"{head}{link})"):
        yield TextDelta(token)
    yield Annotation(
        {
            "type": "container_file_citation",
            "container_id": container_id,
            "file_id": file_id,
            "filename": _FILENAME,
            "start_index": len(head),
            "end_index": len(head) + len(link),
        }
    )


def draw_bars(values: Sequence[float]) -> bytes:
    """A PNG of 480 by 300 pixels with one bar a value."""
    inner_height = _HEIGHT - 2 * _MARGIN
    top = max(values, default=0) or 1
    heights = [round(value / top * inner_height) for value in values]
    slot = (_WIDTH - 2 * _MARGIN) // max(1, len(values))
    rows = [_row(_HEIGHT - _MARGIN - y, heights, slot) for y in range(_HEIGHT)]
    return _png(b"".join(b"\0" + row for row in rows))


def _row(above_axis: int, heights: Sequence[int], slot: int) -> bytes:
    if above_axis == 0:
        return _WHITE * _MARGIN + _AXIS * (_WIDTH - 2 * _MARGIN) + _WHITE * _MARGIN
    gap = max(1, slot // 5)
    bars = b"".join(
        _WHITE * gap + (_COLOURS[index % 4] if 0 < above_axis <= height else _WHITE) * (slot - gap)
        for index, height in enumerate(heights)
    )
    axis = _AXIS if 0 < above_axis <= _HEIGHT - 2 * _MARGIN else _WHITE
    row = _WHITE * (_MARGIN - 1) + axis + bars
    return row + _WHITE * (_WIDTH - len(row) // 3)


def _png(raw: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
