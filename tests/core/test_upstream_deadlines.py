"""The contract of both adapters for time: whatever drips, a call ends when its time is over."""

import asyncio
from typing import Any

import pytest

from app.core.upstream.errors import UpstreamTimeoutError
from tests.fake_upstream import Connection, Handler, Request
from tests.support import until

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"content-length: 100000\r\n\r\n"
DRIPS = {
    "body": (OK + BODY, b" "),
    "packed body": (
        OK + b"content-encoding: gzip\r\n" + BODY + b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        b"\x00\x00\x00\xff\xff",
    ),
    "error body": (b"HTTP/1.1 500 X\r\n" + BODY, b" "),
    "header": (OK + b"x-a: ", b"a"),
    "status": (b"HTTP/1.1 200 ", b"O"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "chunk extension": (OK + b"transfer-encoding: chunked\r\n\r\n5;x=", b"a"),
    "trailer": (OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ", b"a"),
}
WITHOUT_HEADERS = {"header", "status", "interim answers", "error body"}


class Drip:
    """Sends a little again and again, never long silent; knows when the client has gone."""

    def __init__(self, head: bytes, drop: bytes) -> None:
        self._head, self._drop = head, drop
        self.is_over = False

    async def __call__(self, _request: Request, connection: Connection) -> None:
        try:
            await connection.send(self._head)
            while True:
                await connection.send(self._drop)
                await asyncio.sleep(0.05)
        finally:
            self.is_over = True


async def read_all(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("what", DRIPS)
class TestDrips:
    async def test_a_request_ends_in_time(self, opened, what):
        drip = Drip(*DRIPS[what])
        async with opened(drip, openai_timeout_seconds=0.2) as (upstream, fake):
            with pytest.raises(UpstreamTimeoutError):
                await upstream.request("GET", "/x")
            await until(lambda: drip.is_over)
        assert fake.count == 1

    async def test_a_request_has_the_time_it_is_given(self, opened, what):
        drip = Drip(*DRIPS[what])
        async with opened(drip) as (upstream, _):
            with pytest.raises(UpstreamTimeoutError):
                await upstream.request("POST", "/responses", body={}, timeout=0.2)
            await until(lambda: drip.is_over)

    @pytest.mark.parametrize("timeout", [None, 0.5])
    async def test_a_stream_opens_in_time(self, opened, what, timeout):
        drip = Drip(*DRIPS[what])
        limits = {"openai_timeout_seconds": 20 if timeout else 0.5, "stream_max_seconds": 1}
        async with opened(drip, run_expires_seconds=1, **limits) as (upstream, _):
            opening = upstream.stream("POST", "/responses", body={}, timeout=timeout)
            if what in WITHOUT_HEADERS:
                with pytest.raises(UpstreamTimeoutError):
                    await opening
            else:
                # Once open, a stream lives on while it is not silent, up to the longest life of all.
                stream = await opening
                with pytest.raises(UpstreamTimeoutError):
                    await read_all(stream)
                await stream.aclose()
            await until(lambda: drip.is_over)


def silent_for(seconds: float) -> Handler:
    async def handle(_request: Request, connection: Connection) -> None:
        await asyncio.sleep(seconds)
        await connection.start_stream()
        await connection.chunk(b"data: 1\n\n")
        await connection.until_gone()

    return handle


class TestOpening:
    async def test_an_opening_may_wait_longer_than_the_silence_allowed_later(self, opened):
        async with opened(silent_for(0.5), openai_timeout_seconds=0.2) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={}, timeout=10)
            pieces = aiter(stream)
            assert await anext(pieces) == b"data: 1\n\n"
            with pytest.raises(UpstreamTimeoutError):
                await anext(pieces)
            await stream.aclose()

    async def test_an_error_that_drips_has_no_more_time_than_silence_has(self, opened):
        drip = Drip(*DRIPS["error body"])
        async with opened(drip, openai_timeout_seconds=0.2) as (upstream, _):
            for call in (upstream.request("GET", "/x", timeout=60), upstream.stream("GET", "/x", timeout=60)):
                with pytest.raises(UpstreamTimeoutError):
                    await call
            await until(lambda: drip.is_over)
