"""What becomes of a body's reads that nobody wants: they wake nobody, overtake nothing and come together."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.core.upstream import http1, lull, pool
from app.core.upstream.errors import UpstreamTimeoutError
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import until, with_low_marks

GET = b"GET /v1/x HTTP/1.1\r\nhost: upstream.test\r\n\r\n"


def awaiting(size: int, asked: list[bytes] | None = None) -> Callable[[bytes], int]:
    """Want what holds a yes; so many bytes come before it."""

    def awaited_after(body: bytes) -> int:
        if asked is not None:
            asked.append(body)
        return 0 if b"yes" in body else size

    return awaited_after


@asynccontextmanager
async def streaming() -> AsyncIterator[tuple[http1.Connection, Connection]]:
    """Both ends of a connection whose response has begun."""
    ends: list[Connection] = []

    async def handle(_request: Request, connection: Connection) -> None:
        ends.append(connection)
        await connection.start_stream()
        await connection.until_gone()

    async with fake_upstream(handle) as fake:
        connections = pool.ConnectionPool(pool.Origin.of(fake.url), limit=1, connect_seconds=5)
        connection = await connections.acquire()
        connection.send(GET, 20)
        assert await connection.start() == 200
        try:
            yield connection, ends[0]
        finally:
            connections.release(connection)
            await connections.aclose()


def low_mark(connection: http1.Connection) -> int:
    return connection._lull._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


async def lulled(connection: http1.Connection, far: Connection, size: int) -> "asyncio.Task[bytes]":
    """Begin to read, and come to where so many bytes are awaited."""
    reading = asyncio.create_task(connection.read())
    await far.chunk(b"no")
    await until(lambda: low_mark(connection) == size)
    return reading


@pytest.fixture
def lasting(monkeypatch):
    """A lull ends for its reasons, not for its time."""
    monkeypatch.setattr(lull, "_MOST_SECONDS", 1_000)


async def test_nobody_is_woken_for_it(monkeypatch):
    waits, wait = [], http1.Connection._wait

    def waiting(connection):
        waits.append(1)
        return wait(connection)

    async with streaming() as (connection, _):
        monkeypatch.setattr(http1.Connection, "_wait", waiting)
        connection.awaited_after = awaiting(1)
        reading = asyncio.create_task(connection.read())
        for _ in range(5):
            await asyncio.sleep(0)
            connection.data_received(b"2\r\nno\r\n")
        connection.data_received(b"3\r\nyes\r\n")
        assert await reading == b"yes"
    assert len(waits) == 1


async def test_it_overtakes_nothing_that_waits():
    async with streaming() as (connection, _):
        connection.awaited_after = awaiting(1)
        connection.data_received(b"2\r\nno\r\n")
        connection.data_received(b"3\r\nyes\r\n")
        connection.data_received(b"2\r\nno\r\n")
        assert await connection.read() == b"yesno"
    assert connection.awaited_after is None


async def test_it_is_asked_of_a_whole_read():
    asked: list[bytes] = []
    async with streaming() as (connection, _):
        connection.awaited_after = awaiting(1, asked)
        connection.data_received(b"2\r\nno\r\n2\r\nno\r\n2\r\nn")
        connection.data_received(b"o\r\n3\r\nyes\r\n")
        assert await connection.read() == b"oyes"
    assert asked == [b"nonon", b"oyes"]


@with_low_marks
@pytest.mark.usefixtures("lasting")
async def test_it_comes_together_until_as_much_is_there_as_is_awaited():
    asked: list[bytes] = []
    wanted = b"yes" * 40
    async with streaming() as (connection, far):
        connection.awaited_after = awaiting(100, asked)
        assert low_mark(connection) == 1
        reading = await lulled(connection, far, 100)
        await far.chunk(b"no 2")
        await far.chunk(wanted)
        assert await reading == b"no 2" + wanted
        assert asked == [b"no", b"no 2" + wanted]
        assert low_mark(connection) == 1


@with_low_marks
async def test_what_is_smaller_than_awaited_comes_all_the_same(monkeypatch):
    monkeypatch.setattr(lull, "_MOST_SECONDS", 0.05)
    async with streaming() as (connection, far):
        connection.awaited_after = awaiting(1_000)
        reading = await lulled(connection, far, 1_000)
        await far.chunk(b"yes")
        assert await reading == b"yes"
        assert low_mark(connection) == 1


@with_low_marks
@pytest.mark.usefixtures("lasting")
async def test_nothing_is_held_back_once_it_is_unknown_how_much_is_awaited():
    sizes = [1_000, 1]
    async with streaming() as (connection, far):
        connection.awaited_after = lambda body: 0 if b"yes" in body else sizes.pop(0)
        reading = await lulled(connection, far, 1_000)
        await far.chunk(b"no" * 500)
        await until(lambda: low_mark(connection) == 1)
        await far.chunk(b"yes")
        assert await reading == b"yes"


@with_low_marks
@pytest.mark.usefixtures("lasting")
async def test_a_body_that_ends_meanwhile_leaves_a_connection_that_reads_as_before():
    async with streaming() as (connection, far):
        connection.awaited_after = awaiting(1_000)
        reading = await lulled(connection, far, 1_000)
        connection.data_received(b"0\r\n\r\n")
        assert await reading == b""
        assert connection.can_serve_again()
        assert low_mark(connection) == 1


@with_low_marks
@pytest.mark.usefixtures("lasting")
async def test_no_upstream_counts_as_silent_while_nobody_listens():
    async with streaming() as (connection, far):
        connection.awaited_after = awaiting(1_000)
        reading = await lulled(connection, far, 1_000)
        connection._last_read -= 30
        connection._check_silence()
        connection.data_received(b"3\r\nyes\r\n")
        assert await reading == b"yes"
        connection._last_read -= 30
        connection._check_silence()
        with pytest.raises(UpstreamTimeoutError):
            await connection.read()
