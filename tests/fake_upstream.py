"""An upstream made of raw sockets: it records every request and answers, or misbehaves, as each test says."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

_TLS = ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    query_string: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """The other end of one request: what a handler answers through."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_open = True

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> None:
        """A whole answer; the connection stays open for the next request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(data)}", *lines]
        )
        await self.send(head.encode() + b"\r\n\r\n" + data)

    async def start_stream(self) -> None:
        """The head of a chunked event stream."""
        await self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    def limit_send_buffer(self, size: int) -> None:
        """Let the system keep about so many bytes that the other side has not taken."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def reset(self) -> None:
        """Close with a TCP reset."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.is_open = False

    def close(self) -> None:
        self._writer.close()
        self.is_open = False

    async def until_gone(self) -> None:
        """Wait until the client has closed its end."""
        try:
            await self._reader.read()
        except ConnectionError:
            return


Handler = Callable[[Request, Connection], Awaitable[None]]
RawHandler = Callable[[asyncio.StreamReader, Connection], Awaitable[None]]


@dataclass(slots=True)
class FakeUpstream:
    """A listening upstream: `handler` answers, `requests` remembers."""

    url: str
    handler: Handler
    requests: list[Request] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        connection = Connection(reader, writer)
        try:
            while connection.is_open and (request := await _read(reader)):
                self.requests.append(request)
                await self.handler(request, connection)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self.tasks.discard(task)
            writer.transport.abort()


@asynccontextmanager
async def fake_upstream(handler: Handler) -> AsyncIterator[FakeUpstream]:
    """Serve `handler` on a loopback port."""
    found = FakeUpstream("", handler)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()
        left = list(found.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def raw_upstream(handler: RawHandler) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve a handler that reads its one request itself; yields the URL, and what is set at its end."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, Connection(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            gone.set()
            writer.transport.abort()

    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(
        lambda reader, writer: tasks.add(asyncio.create_task(serve(reader, writer))), "127.0.0.1", 0
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", gone
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pass_on(url: str, request: Request, connection: Connection) -> httpx2.Response:
    """Ask the upstream whose base URL is `url` the same, and give its answer on, whole."""
    async with httpx2.AsyncClient(timeout=30, verify=_TLS) as client:
        answer = await client.request(
            request.method,
            url.removesuffix("/v1") + request.path,
            params=request.query,
            content=request.body,
            headers={"content-type": "application/json"},
        )
    if not answer.headers["content-type"].startswith("text/event-stream"):
        await connection.answer(answer.status_code, answer.content)
        return answer
    await connection.start_stream()
    await connection.chunk(answer.content)
    await connection.end_stream()
    return answer


def always(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> Handler:
    """A handler that gives one answer to everything."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.answer(status, body, **headers)

    return handle


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None where the connection ends, or greets in TLS."""
    try:
        head = await reader.readexactly(1)
        if head == b"\x16":
            return None
        head += await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    url = urlsplit(target)
    body = await _body(reader, headers)
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, body, url.query)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
