"""The load: HTTP over raw asyncio protocols, so that a request costs the client some ten microseconds.

Knows just enough of HTTP/1.1 for servers on this machine: one response after the other on each connection,
framed by `content-length` or chunked.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from bench.wire import FIRST_TOKEN

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_STUCK_SECONDS = 120

Request = Callable[[int], bytes]
"""Makes the bytes of a request for connection number N."""


@dataclass(slots=True)
class Result:
    """What a load measured; times in seconds."""

    seconds: float = 0.0
    count: int = 0
    failures: int = 0
    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)


def http_request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return a request's bytes."""
    sent = {"host": "127.0.0.1", "accept": "*/*", **(headers or {})}
    if body:
        sent |= {"content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection; `on_done` is called when a response is whole, with whether its status was 200."""

    def __init__(self, number: int, on_done: Callable[["Connection", bool], None]) -> None:
        self.number = number
        self.first_at: float | None = None
        self.sent_at = 0.0
        self.received = 0
        self.keeps_body = False
        self.body = b""
        self._on_done = on_done
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Send a request; the response before it must have come."""
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        self._is_ok = False
        self._is_waiting = True
        self.first_at = None
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.keeps_body:
            self.body += data
        if self.first_at is None and FIRST_TOKEN in data:
            self.first_at = time.perf_counter()
        if not self._tail and not self._read_head(data):
            return
        if self._left is None:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            if self._tail == _LAST_CHUNK:
                self._finish(is_ok=self._is_ok)
        elif self.received >= self._left:
            self._finish(is_ok=self._is_ok)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._finish(is_ok=False)

    def _read_head(self, data: bytes) -> bool:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._is_ok = self._head[9:12] == b"200"
        self.received = len(self._head)
        found = _LENGTH.search(self._head, 0, end)
        self._left = end + 4 + int(found.group(1)) if found else None
        self._tail = b"-"
        return True

    def _finish(self, *, is_ok: bool) -> None:
        self._is_waiting = False
        self._on_done(self, is_ok)


async def fetch(port: int, request: bytes) -> bytes:
    """Send a request and return the whole response, head included; raises `RuntimeError` unless it is 200."""
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    connection = await _connected(port, 0, lambda _, is_ok: done.set_result(is_ok))
    connection.keeps_body = True
    connection.send(request)
    is_ok = await asyncio.wait_for(done, _STUCK_SECONDS)
    connection.transport.close()
    if not is_ok:
        raise RuntimeError(f"a benchmark's request failed: {connection.body[:400]!r}")
    return connection.body


async def closed_loop(port: int, request: Request, connections: int, seconds: float) -> Result:
    """Keep `connections` requests under way for so long: each answer is followed by the next request."""
    result = Result()
    ended = asyncio.Event()
    stop_at = time.perf_counter() + seconds
    under_way = connections

    def on_done(connection: Connection, is_ok: bool) -> None:
        nonlocal under_way
        now = time.perf_counter()
        _note(result, connection, now, is_ok=is_ok)
        if is_ok and now < stop_at:
            connection.send(request(connection.number))
            return
        under_way -= 1
        if not under_way:
            ended.set()

    opened = [await _connected(port, number, on_done) for number in range(connections)]
    started = time.perf_counter()
    stop_at = started + seconds
    for connection in opened:
        connection.send(request(connection.number))
    await asyncio.wait_for(ended.wait(), seconds + _STUCK_SECONDS)
    result.seconds = time.perf_counter() - started
    _close(opened)
    return result


async def open_loop(
    port: int, request: Request, per_second: float, seconds: float, connections: int
) -> Result:
    """Send requests at a steady rate; latency counts from when each was due, so that no queue is hidden."""
    result = Result()
    free: list[Connection] = []
    waiting: list[float] = []
    done = asyncio.Event()
    sent = 0

    def on_done(connection: Connection, is_ok: bool) -> None:
        _note(result, connection, time.perf_counter(), is_ok=is_ok)
        if waiting and not connection.transport.is_closing():
            _send_due(connection, request, waiting.pop(0))
        else:
            free.append(connection)
        done.set()

    opened = [await _connected(port, number, on_done) for number in range(connections)]
    free += opened
    started = time.perf_counter()
    while sent < per_second * seconds:
        due = started + sent / per_second
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        sent += 1
        # A server closes what was idle for some seconds, as those are that a slow service's load leaves over.
        while free and free[-1].transport.is_closing():
            free.pop()
        if free:
            _send_due(free.pop(), request, due)
        else:
            waiting.append(due)
    while result.count + result.failures < sent:
        done.clear()
        await asyncio.wait_for(done.wait(), _STUCK_SECONDS)
    result.seconds = time.perf_counter() - started
    _close(opened)
    return result


class OpenStreams:
    """Many streams held open at a time."""

    def __init__(self) -> None:
        self.result = Result()
        self._opened: list[Connection] = []
        self._ended = asyncio.Event()
        self._under_way = 0

    async def open(self, port: int, request: Request, count: int, spread_seconds: float = 0.0) -> None:
        """Open so many streams, evenly over the time given."""
        started = time.perf_counter()
        for number in range(count):
            due = started + spread_seconds * number / count
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            connection = await _connected(port, number, self._on_done)
            self._opened.append(connection)
            self._under_way += 1
            connection.send(request(number))

    def received(self) -> list[int]:
        """Return how many bytes each stream has received."""
        return [connection.received for connection in self._opened]

    async def finish(self, seconds: float) -> Result:
        """Wait until every stream ended."""
        await asyncio.wait_for(self._ended.wait(), seconds)
        _close(self._opened)
        return self.result

    def abandon(self) -> None:
        """Break all streams off."""
        _close(self._opened)

    def _on_done(self, connection: Connection, is_ok: bool) -> None:
        _note(self.result, connection, time.perf_counter(), is_ok=is_ok)
        self._under_way -= 1
        if not self._under_way:
            self._ended.set()


def _send_due(connection: Connection, request: Request, due: float) -> None:
    connection.send(request(connection.number))
    connection.sent_at = due


def _note(result: Result, connection: Connection, now: float, *, is_ok: bool) -> None:
    if not is_ok:
        result.failures += 1
        return
    result.count += 1
    result.latencies.append(now - connection.sent_at)
    if connection.first_at is not None:
        result.first_tokens.append(connection.first_at - connection.sent_at)


async def _connected(port: int, number: int, on_done: Callable[[Connection, bool], None]) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(number, on_done), "127.0.0.1", port
    )
    return connection


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection._is_waiting = False  # noqa: SLF001 - an end that this side wants is no failure
        connection.transport.abort()
