"""Streams of responses whose conversation the service keeps: what they say is stored before it goes on."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping

import orjson

from app.core.upstream.errors import UpstreamBrokenError, UpstreamMalformedError
from app.core.upstream.port import UpstreamStream
from app.translate.events import Json
from app.translate.upstream_types import (
    TERMINAL,
    BadShapeError,
    UpstreamEvent,
    decode,
    item_of,
    response_of,
)
from app.utils.sse import Frame, SSEDecoder

_BEGINNING = frozenset({"response.created", "response.queued", "response.in_progress"})
_ITEM_ADDED, _ITEM_DONE = "response.output_item.added", "response.output_item.done"
_TEXT_DELTA = "response.output_text.delta"
_NAMES = frozenset(name.encode() for name in (*_BEGINNING, *TERMINAL, _ITEM_DONE))
# A delta may quote these words too: the type of the parsed event decides.
_QUOTED = tuple(b'"' + name + b'"' for name in _NAMES)


class Recorder(ABC):
    """Is told what a stream says, and may change it."""

    keeps_text = False
    """Whether `said` is wanted, which costs a look at every event."""

    @abstractmethod
    async def began(self, response: Json) -> Json:
        """Return the response of an event at the beginning as clients get it."""

    @abstractmethod
    async def ended(self, response: Json, items: list[Json]) -> Json:
        """Return the response of the last event as clients get it; `items` are those done before."""

    @abstractmethod
    async def closed(self) -> None:
        """Handle the end of a stream that is over, or that nobody reads any more."""


class RecordedStream:
    """An `UpstreamStream` that tells a recorder what passes."""

    def __init__(self, upstream: UpstreamStream, recorder: Recorder) -> None:
        self.status = upstream.status
        self.headers: Mapping[str, str] = upstream.headers
        self._upstream = upstream
        self._recorder = recorder
        self._decoder = SSEDecoder()
        self._items: list[Json] = []
        self._open: dict[str, list[str]] = {}
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._recorded()

    async def aclose(self) -> None:
        """Close the upstream's stream and tell the recorder."""
        try:
            await self._upstream.aclose()
        finally:
            await self._recorder.closed()

    def said(self) -> list[Json]:
        """Return the items so far; a message that is not done is `incomplete`."""
        return [*self._items, *(_incomplete(item_id, text) for item_id, text in self._open.items() if text)]

    async def _recorded(self) -> AsyncIterator[bytes]:
        async for chunk in self._upstream:
            try:
                frames = self._decoder.feed(chunk)
            except ValueError as exc:
                raise UpstreamBrokenError from exc
            passed = [await self._passed(frame) for frame in frames]
            if passed:
                yield b"".join(passed)

    async def _passed(self, frame: Frame) -> bytes:
        name, data = frame
        if self._recorder.keeps_text or name in _NAMES or any(quoted in data for quoted in _QUOTED):
            data = await self._noted(name.decode("latin-1"), data)
        head = b"event: " + name + b"\n" if name else b""
        return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"

    async def _noted(self, name: str, data: bytes) -> bytes:
        try:
            event = decode(data)
            kind = event.type or name
            if kind in _BEGINNING:
                return _with_response(data, await self._recorder.began(response_of(event)))
            if kind in TERMINAL and not self._is_over:
                self._is_over = True
                response = response_of(event)
                return _with_response(data, await self._recorder.ended(response, self._items))
            self._collect(kind, event)
        except BadShapeError as exc:
            raise UpstreamMalformedError from exc
        except ValueError:
            # Whoever reads the stream finds the same fault, and tells it.
            return data
        return data

    def _collect(self, kind: str, event: UpstreamEvent) -> None:
        if kind == _ITEM_DONE:
            item = item_of(event)
            self._open.pop(str(item.get("id")), None)
            self._items.append(item)
        elif kind == _ITEM_ADDED and self._recorder.keeps_text:
            item = item_of(event)
            if item.get("type") == "message" and item.get("id"):
                self._open[item["id"]] = []
        elif kind == _TEXT_DELTA and (text := self._open.get(str(event.item_id))) is not None:
            text.append(event.delta or "")


def _incomplete(item_id: str, text: list[str]) -> Json:
    part = {"type": "output_text", "text": "".join(text), "annotations": []}
    return {"id": item_id, "type": "message", "role": "assistant", "status": "incomplete", "content": [part]}


def _with_response(data: bytes, response: Json) -> bytes:
    return orjson.dumps(orjson.loads(data) | {"response": response})
