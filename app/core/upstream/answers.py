"""Bodies of the upstream: unpacked piece by piece, limited in size, and checked for an early end."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from app.core.upstream.errors import UpstreamBrokenError, UpstreamDeadlineError
from app.core.upstream.session import upstream_error_of

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Longest body that is kept in memory, after unpacking."""

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error's body is read, after unpacking."""

# All events of one read are in memory until their client has taken them.
_READ_BYTES = 16 * 1024
_PIECE_BYTES = 256 * 1024
_GZIP_OR_ZLIB = 47
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class Answer:
    """An open response with an unpacked body; implements `UpstreamStream`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._ending: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._pieces = self._unpacked()
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def limit(self, silence_seconds: float, longest_seconds: float) -> None:
        """End the body after so much silence, and after so long in any case; see `UpstreamStream`."""
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # aiohttp's `sock_read` is one limit for the headers and all later reads; here the two differ.
            connection.protocol.read_timeout = silence_seconds
            connection.protocol.start_timeout()
        self._ending = asyncio.get_running_loop().call_later(longest_seconds, self._end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

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

    async def _unpacked(self) -> AsyncIterator[bytes]:
        """Yield the unpacked body in pieces; raises `UpstreamBrokenError` if its gzip or deflate is broken.

        A body without a byte counts as empty, whatever its encoding.
        """
        encoding = self.headers.get("content-encoding", "").strip().lower()
        inflate = None if encoding in {"", "identity"} else zlib.decompressobj(_GZIP_OR_ZLIB)
        has_begun = False
        while packed := await self._read():
            has_begun = True
            if inflate is None:
                yield packed
                continue
            if encoding not in _ENCODINGS:
                raise UpstreamBrokenError
            while piece := _next_piece(inflate, packed):
                yield piece
                packed = inflate.unconsumed_tail
                if len(piece) == _PIECE_BYTES:
                    # One read may unpack to a thousand pieces: let other requests run in between.
                    await asyncio.sleep(0)
        if inflate is not None and has_begun and not inflate.eof:
            raise UpstreamBrokenError

    async def _read(self) -> bytes:
        try:
            return await self._response.content.read(_READ_BYTES)
        except (aiohttp.ClientError, OSError) as exc:
            raise (UpstreamDeadlineError() if self._has_ended else upstream_error_of(exc)) from exc

    def _end(self) -> None:
        self._has_ended = True
        self._response.close()


def _next_piece(inflate: Any, packed: bytes) -> bytes:
    try:
        piece: bytes = inflate.decompress(packed, _PIECE_BYTES)
    except zlib.error as exc:
        raise UpstreamBrokenError from exc
    if inflate.unused_data:
        raise UpstreamBrokenError
    return piece
