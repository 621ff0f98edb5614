"""Bodies of the upstream: unpacked piece by piece, limited in size, and checked for an early end."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping

import aiohttp

from app.core.upstream.errors import UpstreamBrokenError, UpstreamTimeoutError
from app.core.upstream.session import upstream_error_of

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Longest body that is kept in memory, after unpacking."""

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error's body is read, after unpacking."""

_PIECE_BYTES = 256 * 1024
_GZIP_OR_ZLIB = 47


class Unpacker:
    """Unpacks a gzip or deflate body. After each `feed`, call `take` until it returns nothing."""

    def __init__(self, encoding: str) -> None:
        self._is_known = encoding in {"gzip", "x-gzip", "deflate"}
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self._has_begun = False

    def feed(self, packed: bytes) -> None:
        """Add the next bytes; raises `UpstreamBrokenError` for an encoding that was not requested."""
        if not self._is_known:
            raise UpstreamBrokenError
        self._packed = packed
        self._has_begun = True

    def take(self) -> bytes:
        """Return the next piece, or nothing if more bytes are needed.

        Raises `UpstreamBrokenError` for bytes that cannot be unpacked, or that follow the end.
        """
        try:
            piece = self._inflate.decompress(self._packed, _PIECE_BYTES)
        except zlib.error as exc:
            raise UpstreamBrokenError from exc
        self._packed = self._inflate.unconsumed_tail
        if self._inflate.unused_data:
            raise UpstreamBrokenError
        return piece

    def finish(self) -> None:
        """Raise `UpstreamBrokenError` if the packed body ended early; one without any byte is just empty."""
        if self._has_begun and not self._inflate.eof:
            raise UpstreamBrokenError


class Answer:
    """An open response with an unpacked body; implements `UpstreamStream`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        encoding = response.headers.get("content-encoding", "").strip().lower()
        self._unpacker = None if encoding in {"", "identity"} else Unpacker(encoding)
        self._ending: asyncio.TimerHandle | None = None
        self._has_ended = False
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def limit(self, silence_seconds: float, longest_seconds: float) -> None:
        """End the body with `UpstreamTimeoutError` after so much silence, or after so long altogether."""
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # aiohttp's `sock_read` is one limit for the headers and all later reads; here the two differ.
            connection.protocol.read_timeout = silence_seconds
            connection.protocol.start_timeout()
        self._ending = asyncio.get_running_loop().call_later(longest_seconds, self._end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        unpacker = self._unpacker
        while True:
            if unpacker and (piece := unpacker.take()):
                if len(piece) == _PIECE_BYTES:
                    # One read may unpack to a thousand pieces: let other requests run in between.
                    await asyncio.sleep(0)
                return piece
            chunk = await self._read()
            if not chunk:
                if unpacker:
                    unpacker.finish()
                raise StopAsyncIteration
            if not unpacker:
                return chunk
            unpacker.feed(chunk)

    async def whole(self) -> bytes:
        """Return the whole body and close; raises `UpstreamBrokenError` beyond `MAX_BODY_BYTES`."""
        found, size = [], 0
        try:
            async for piece in self:
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise UpstreamBrokenError
                found.append(piece)
        finally:
            await self.aclose()
        return b"".join(found)

    async def start_of_error(self) -> bytes:
        """Return at most `MAX_ERROR_BYTES` of the body, less if it breaks, and close."""
        found = b""
        try:
            async for piece in self:
                found += piece
                if len(found) >= MAX_ERROR_BYTES:
                    break
        except UpstreamBrokenError:
            # The status matters more than the rest of the body.
            return found
        finally:
            await self.aclose()
        return found[:MAX_ERROR_BYTES]

    async def aclose(self) -> None:
        """Close the connection unless its body has ended: then it goes back to the pool."""
        if self._ending is not None:
            self._ending.cancel()
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            # `close` alone would first wait until the upstream has taken the rest of an upload.
            connection.transport.abort()
        self._response.close()

    async def _read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise (UpstreamTimeoutError() if self._has_ended else upstream_error_of(exc)) from exc

    def _end(self) -> None:
        self._has_ended = True
        self._response.close()
