"""The upstream without the SDK: the lean way for the many calls, same contract as `sdk.py`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from app.core.config import VERSION, Settings
from app.core.logging import note
from app.core.upstream.errors import UpstreamError, UpstreamTimeoutError, failure_of
from app.core.upstream.http1 import Connection
from app.core.upstream.multipart import multipart
from app.core.upstream.pool import ConnectionPool, Origin
from app.core.upstream.port import Query
from app.core.upstream.target import UpstreamTarget

_FIRST_REDIRECT_STATUS = 300
_FIRST_ERROR_STATUS = 400
_PACKED = "gzip, deflate"
_NO_BODY = b"content-length: 0\r\n\r\n"


class DirectStream:
    """An open response body."""

    def __init__(self, pool: ConnectionPool, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None or not (chunk := await connection.read()):
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the connection, unless it was read to its end and can serve again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


class DirectUpstream:
    """The `Upstream` port over connections of its own."""

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        parts = urlsplit(target.base_url)
        self._path = parts.path
        self._silence_seconds = settings.openai_timeout_seconds
        self._pool = ConnectionPool(
            Origin.of(target.base_url),
            limit=settings.upstream_max_connections,
            connect_seconds=settings.openai_connect_timeout_seconds,
        )
        always = {
            "host": parts.netloc.rpartition("@")[2],
            "user-agent": f"soloist/{VERSION}",
            "accept": "*/*",
        }
        self._always = _lines(always | target.auth_headers)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """See `Upstream.request`."""
        silence = self._silence_seconds if timeout is None else timeout
        request = self._request(method, path, {"accept-encoding": _PACKED}, body, query)
        if timeout is None:
            return await self._exchanged(request, silence)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchanged(request, silence)
        except TimeoutError as exc:
            raise UpstreamTimeoutError from exc

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> DirectStream:
        """See `Upstream.stream`."""
        connection = await self._pool.acquire()
        try:
            request = self._request(method, path, headers or {}, body, query)
            connection.send(request, self._silence_seconds)
            await _accepted(connection)
        except BaseException:
            self._pool.release(connection)
            raise
        return DirectStream(self._pool, connection)

    async def upload(
        self,
        path: str,
        *,
        fields: Mapping[str, str],
        filename: str,
        content_type: str,
        chunks: AsyncIterator[bytes],
    ) -> bytes:
        """See `Upstream.upload`."""
        header, content = multipart(fields, filename, content_type, chunks)
        head = {"content-type": header, "transfer-encoding": "chunked"}
        connection = await self._pool.acquire()
        try:
            connection.send(self._request("POST", path, head, None, None), self._silence_seconds)
            await _sent(connection, content)
            return await _whole(connection)
        finally:
            self._pool.release(connection)

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._pool.aclose()

    async def _exchanged(self, request: bytes, silence_seconds: float) -> bytes:
        connection = await self._pool.acquire()
        try:
            connection.send(request, silence_seconds)
            return await _whole(connection)
        finally:
            self._pool.release(connection)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, query: Query | None
    ) -> bytes:
        target = self._path + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("a path must be escaped")
        head = f"{method} {target} HTTP/1.1\r\n".encode() + self._always + _lines(headers)
        if body is None:
            return head + (b"\r\n" if method == "GET" or "transfer-encoding" in headers else _NO_BODY)
        data = orjson.dumps(body)
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (head, len(data), data)


async def _sent(connection: Connection, content: AsyncIterator[bytes]) -> None:
    """Send a body in chunks; an upstream that answers before its end is listened to."""
    try:
        async for chunk in content:
            if chunk:
                await connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await connection.write(b"0\r\n\r\n")
    except UpstreamError:
        if not connection.status:
            raise


async def _accepted(connection: Connection) -> None:
    """Wait for a response's head; raises the error that any status but 2xx is."""
    status = await connection.start()
    if status >= _FIRST_ERROR_STATUS:
        raise failure_of(status, await _body(connection), connection.headers)
    if status >= _FIRST_REDIRECT_STATUS:
        raise failure_of(502, b"", connection.headers)
    note(upstream_request_id=connection.headers.get("x-request-id"))


async def _whole(connection: Connection) -> bytes:
    await _accepted(connection)
    return await _body(connection)


async def _body(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


def _lines(headers: Mapping[str, str]) -> bytes:
    found = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if found.count("\n") != len(headers) or found.count("\r") != len(headers):
        raise ValueError("a header must be one line")
    return found.encode("latin-1")
