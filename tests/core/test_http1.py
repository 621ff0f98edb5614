"""What the contract of the adapters does not reach: the corners of HTTP/1.1, and the pool's bounds."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.core.upstream.errors import UpstreamBrokenError, UpstreamUnreachableError
from app.core.upstream.pool import ConnectionPool, Origin
from tests.fake_upstream import Connection, FakeUpstream, Handler, Request, always, fake_upstream
from tests.support import until

GET = b"GET /v1/x HTTP/1.1\r\nhost: upstream.test\r\n\r\n"


@asynccontextmanager
async def pooled(handler: Handler, limit: int = 10) -> AsyncIterator[tuple[ConnectionPool, FakeUpstream]]:
    async with fake_upstream(handler) as fake:
        pool = ConnectionPool(Origin.of(fake.url), limit=limit, connect_seconds=0.2)
        try:
            yield pool, fake
        finally:
            await pool.aclose()


def sending(data: bytes, *, closes: bool = False) -> Handler:
    async def handle(_request: Request, connection: Connection) -> None:
        await connection.send(data)
        if closes:
            connection.close()

    return handle


async def answer(pool: ConnectionPool) -> tuple[int, bytes, dict[str, str]]:
    connection = await pool.acquire()
    try:
        connection.send(GET, 20)
        status, pieces = await connection.start(), []
        while piece := await connection.read():
            pieces.append(piece)
        return status, b"".join(pieces), connection.headers
    finally:
        pool.release(connection)


class TestResponses:
    async def test_an_interim_response_is_passed_over(self):
        early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        async with pooled(sending(early + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as (pool, _):
            assert await answer(pool) == (200, b"ok", {"content-length": "2"})

    async def test_a_compressed_body_may_begin_with_a_slice_that_holds_nothing_yet(self):
        packed = gzip.compress(b"all of it")

        async def handle(_request: Request, connection: Connection) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            await connection.send(head % len(packed))
            for start in (0, 4, 8):
                await connection.send(packed[start : start + 4])
                await asyncio.sleep(0.01)
            await connection.send(packed[12:])

        async with pooled(handle) as (pool, _):
            assert (await answer(pool))[1] == b"all of it"

    async def test_a_body_that_breaks_off_is_unpacked_as_far_as_it_came(self):
        packed = gzip.compress(b"all of it")
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        async with pooled(sending(head + b"%x\r\n%b\r\nno chunk" % (len(packed), packed))) as (pool, _):
            connection = await pool.acquire()
            connection.send(GET, 20)
            assert await connection.start() == 200
            assert await connection.read() == b"all of it"
            with pytest.raises(UpstreamBrokenError):
                await connection.read()
            pool.release(connection)

    async def test_a_packed_body_stops_the_reading_by_what_it_unpacks_to(self):
        packed = gzip.compress(b"word " * 100_000)
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (len(packed) + 1)
        async with pooled(sending(head + packed)) as (pool, _):
            connection = await pool.acquire()
            connection.send(GET, 20)
            assert await connection.start() == 200
            await until(lambda: not connection._transport.is_reading())
            assert await connection.read() == b"word " * 100_000
            assert connection._transport.is_reading()
            pool.release(connection)

    async def test_long_headers_alone_stop_nothing(self):
        lines = b"".join(b"x-header-%d: %b\r\n" % (number, b"x" * 8_000) for number in range(40))
        response = b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 2\r\n\r\nok"
        async with pooled(sending(response)) as (pool, _):
            assert (await answer(pool))[1] == b"ok"

    async def test_a_body_without_a_length_ends_with_its_connection(self):
        async with pooled(sending(b"HTTP/1.1 200 OK\r\n\r\nall of it", closes=True)) as (pool, fake):
            assert (await answer(pool))[1] == b"all of it"
            assert (await answer(pool))[1] == b"all of it"
        assert fake.count == 2

    async def test_names_of_headers_come_in_lower_case(self):
        async with pooled(sending(b"HTTP/1.1 200 OK\r\nX-Request-ID: a\r\nContent-Length: 0\r\n\r\n")) as (
            pool,
            _,
        ):
            assert (await answer(pool))[2]["x-request-id"] == "a"

    async def test_a_deflated_body_is_unpacked_piece_by_piece(self):
        packed = zlib.compress(b"word " * 1_000)

        async def handle(_request: Request, connection: Connection) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n"
            await connection.send(head % len(packed) + packed[:10])
            await asyncio.sleep(0)
            await connection.send(packed[10:])

        async with pooled(handle) as (pool, _):
            assert (await answer(pool))[1] == b"word " * 1_000

    @pytest.mark.parametrize(
        "sent",
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x00\x01",
            b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
        ],
    )
    async def test_what_is_no_answer_breaks_the_call(self, sent):
        async with pooled(sending(sent, closes=True)) as (pool, _):
            with pytest.raises(UpstreamBrokenError):
                await answer(pool)

    async def test_a_reader_that_takes_nothing_stops_the_upstream(self):
        sent = 0

        async def flood(_request: Request, connection: Connection) -> None:
            nonlocal sent
            await connection.start_stream()
            for _ in range(2_000):
                await connection.chunk(b"x" * 65_536)
                sent += 65_536
            await connection.end_stream()

        async with pooled(flood) as (pool, _):
            connection = await pool.acquire()
            connection.send(GET, 20)
            await connection.start()
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 40_000_000
            taken = 0
            while piece := await connection.read():
                taken += len(piece)
            pool.release(connection)
        assert taken == 2_000 * 65_536


class TestPool:
    async def test_a_connection_that_the_upstream_closed_is_not_used_again(self):
        async def answer_and_close(_request: Request, connection: Connection) -> None:
            await connection.answer(200, b"{}")
            connection.close()

        async with pooled(answer_and_close) as (pool, fake):
            assert (await answer(pool))[1] == b"{}"
            await asyncio.sleep(0.05)
            assert (await answer(pool))[1] == b"{}"
        assert fake.count == 2

    async def test_an_answer_to_nothing_is_never_taken_for_the_next_ones(self):
        extra = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"

        async def twice(_request: Request, connection: Connection) -> None:
            await connection.answer(200, b"right")
            await connection.send(extra)

        async with pooled(twice) as (pool, _):
            for _ in range(3):
                assert (await answer(pool))[1] == b"right"
                await asyncio.sleep(0.02)

    async def test_who_finds_no_place_in_time_is_told_that_nothing_was_started(self):
        async with pooled(always(200, b"{}"), limit=1) as (pool, fake):
            taken = await pool.acquire()
            with pytest.raises(UpstreamUnreachableError):
                await pool.acquire()
            pool.release(taken)
            assert (await answer(pool))[0] == 200
        assert fake.count == 1

    async def test_a_place_that_is_given_back_goes_to_who_waits(self):
        async with pooled(always(200, b"{}"), limit=1) as (pool, _):
            taken = await pool.acquire()
            waiting = asyncio.create_task(answer(pool))
            await asyncio.sleep(0)
            pool.release(taken)
            assert (await waiting)[0] == 200

    async def test_closing_the_pool_closes_what_is_idle(self):
        gone = asyncio.Event()

        async def handle(_request: Request, connection: Connection) -> None:
            await connection.answer(200, b"{}")
            await connection.until_gone()
            gone.set()

        async with pooled(handle) as (pool, _):
            await answer(pool)
            await pool.aclose()
            await until(gone.is_set)

    @pytest.mark.parametrize("url", ["ftp://host/v1", "nonsense", "http:///v1"])
    def test_an_origin_needs_a_scheme_and_a_host(self, url):
        with pytest.raises(ValueError, match="http"):
            Origin.of(url)
