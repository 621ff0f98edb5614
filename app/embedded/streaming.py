"""Writes a stream of frames to a client and notices when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.embedded.faults import ConnectionResetFaultError

RESET_EXTENSION = "embedded.reset"
"""Scope extension under which the server offers a function that resets the connection."""

Batches = AsyncIterator[Sequence[bytes]]


class OpenStreams:
    """How many bodies are being written."""

    def __init__(self) -> None:
        self.count = 0


class FrameStream(Response):
    """A body made of batches; all frames of one batch leave in one write."""

    def __init__(
        self,
        batches: Batches,
        *,
        content_type: str,
        open_streams: OpenStreams,
        chunk_bytes: int | None = None,
        on_leave: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(None)
        self._batches = batches
        self._open_streams = open_streams
        self._chunk_bytes = chunk_bytes
        self._on_leave = on_leave
        self.raw_headers = [
            (b"content-type", content_type.encode()),
            (b"cache-control", b"no-cache"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the batches end or the client is gone; then tell `on_leave`."""
        self._open_streams.count += 1
        pump = asyncio.create_task(self._pump(send))
        watch = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open_streams.count -= 1
            pump.cancel()
            watch.cancel()
            outcome = (await asyncio.gather(pump, watch, return_exceptions=True))[0]
            if self._on_leave is not None:
                await self._on_leave()
        if isinstance(outcome, ConnectionResetFaultError):
            _reset(scope)
        elif isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome

    async def _pump(self, send: Send) -> None:
        started = False
        async for batch in self._batches:
            if not started:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                started = True
            for piece in self._slices(b"".join(batch)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _slices(self, data: bytes) -> Iterator[bytes]:
        step = self._chunk_bytes or len(data) or 1
        return (data[at : at + step] for at in range(0, len(data), step))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(scope: Scope) -> None:
    extension = scope.get("extensions", {}).get(RESET_EXTENSION)
    if extension is None:
        raise ConnectionResetError
    extension["reset"]()


async def once(frames: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """Batches of what is all there already."""
    yield frames
