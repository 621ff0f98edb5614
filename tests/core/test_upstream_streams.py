"""The contract of both adapters for open streams: what comes, how they end, and what closing them does."""

import asyncio
from typing import Any

import pytest

from app.core.upstream.errors import UpstreamBrokenError, UpstreamTimeoutError
from tests.fake_upstream import Connection, Request


async def _endless(_request: Request, connection: Connection) -> None:
    await connection.start_stream()
    await connection.chunk(b"data: 1\n\n")
    await connection.until_gone()


class TestStreams:
    async def test_pieces_come_as_the_upstream_writes_them(self, opened):
        more = asyncio.Event()

        async def two(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await more.wait()
            await connection.chunk(b"data: 2\n\n")
            await connection.end_stream()

        async with opened(two) as (upstream, fake):
            stream = await upstream.stream("POST", "/responses", body={"stream": True}, headers={"x-a": "b"})
            assert stream.headers["content-type"] == "text/event-stream"
            reads = aiter(stream)
            assert await anext(reads) == b"data: 1\n\n"
            more.set()
            assert await anext(reads) == b"data: 2\n\n"
            with pytest.raises(StopAsyncIteration):
                await anext(reads)
            await stream.aclose()
        assert fake.requests[0].headers["x-a"] == "b"

    @pytest.mark.parametrize("is_read", [False, True])
    async def test_closing_a_stream_closes_its_connection(self, opened, is_read):
        gone = asyncio.Event()

        async def endless(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await connection.until_gone()
            gone.set()

        async with opened(endless) as (upstream, _):
            stream = await upstream.stream("GET", "/responses/resp_1", query={"stream": "true"})
            if is_read:
                await anext(aiter(stream))
            await stream.aclose()
            await stream.aclose()
            await gone.wait()

    async def test_a_cancelled_request_closes_its_connection(self, opened):
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def silent(_request: Request, connection: Connection) -> None:
            arrived.set()
            await connection.until_gone()
            gone.set()

        async with opened(silent) as (upstream, _):
            task = asyncio.create_task(upstream.request("POST", "/responses", body={}))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    async def test_a_stream_that_breaks_off_is_broken(self, opened):
        async def cut(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            connection.close()

        async with opened(cut) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            with pytest.raises(UpstreamBrokenError):
                await _read_all(stream)
            await stream.aclose()

    async def test_a_stream_that_falls_silent_times_out(self, opened):
        async def stall(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await connection.until_gone()

        async with opened(stall, openai_timeout_seconds=0.2) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            with pytest.raises(UpstreamTimeoutError):
                await _read_all(stream)
            await stream.aclose()

    async def test_a_stream_may_take_longer_than_the_timeout_while_it_speaks(self, opened):
        async def patient(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            for _ in range(8):
                await asyncio.sleep(0.15)
                await connection.chunk(b"data: 1\n\n")
            await connection.end_stream()

        async with opened(patient, openai_timeout_seconds=1) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            assert await _read_all(stream) == b"data: 1\n\n" * 8
            await stream.aclose()

    async def test_a_reader_that_takes_nothing_stops_the_upstream(self, opened):
        sent = 0

        async def flood(_request: Request, connection: Connection) -> None:
            nonlocal sent
            await connection.start_stream()
            for _ in range(1_000):
                await connection.chunk(b"x" * 65_536)
                sent += 65_536
            await connection.end_stream()

        async with opened(flood, openai_timeout_seconds=0.3) as (upstream, _):
            stream = await upstream.stream("GET", "/files/file-1/content")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 40_000_000
            assert len(await _read_all(stream)) == 1_000 * 65_536
            await stream.aclose()

    async def test_a_stream_that_was_closed_is_read_no_further(self, opened):
        async with opened(_endless) as (upstream, _):
            stream = await upstream.stream("GET", "/x")
            await stream.aclose()
            with pytest.raises(UpstreamBrokenError):
                await anext(aiter(stream))

    async def test_a_connection_serves_again_after_a_stream_was_read_to_its_end(self, opened):
        connections = set()

        async def count(_request: Request, connection: Connection) -> None:
            connections.add(connection)
            await connection.start_stream()
            await connection.end_stream()

        async with opened(count) as (upstream, _):
            for _ in range(3):
                stream = await upstream.stream("POST", "/responses", body={})
                await _read_all(stream)
                await stream.aclose()
        assert len(connections) == 1


async def _read_all(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])
