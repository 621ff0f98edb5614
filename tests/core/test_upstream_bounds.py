"""The contract of both adapters where answers are too large, broken inside, or no answers at all."""

import asyncio
import gzip
import json
import tracemalloc
import zlib

import pytest

from app.core.upstream import answers
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamRefusedError,
    UpstreamServerError,
)
from tests.fake_upstream import Connection, Handler, Request, always
from tests.support import until

MEGABYTE = 1024 * 1024
OK, REFUSED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 400 X\r\n"
LENGTH = b"content-length: %d\r\n\r\n"


def sending(data: bytes, *, closes: bool = False) -> Handler:
    async def handle(_request: Request, connection: Connection) -> None:
        await connection.send(data)
        if closes:
            connection.close()

    return handle


class Flood:
    """Sends the same piece again and again; knows how often, and whether the client has closed its end."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece
        self.sent = 0
        self.is_over = False

    async def __call__(self, _request: Request, connection: Connection) -> None:
        await connection.send(self._head)
        try:
            while self.sent < 300 * MEGABYTE:
                await connection.send(self._piece)
                self.sent += len(self._piece)
            await connection.until_gone()
        finally:
            self.is_over = True


def packed(data: bytes, *, wbits: int = 31, ends: bool = True) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH if ends else zlib.Z_SYNC_FLUSH)


def bomb(head: bytes) -> bytes:
    """An answer of 200 kB that unpacks to 200 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(200)) + packer.flush()
    return head + b"content-encoding: gzip\r\n" + LENGTH % len(data) + data


class TestSize:
    @pytest.mark.parametrize("size", [1_000, 1_001])
    async def test_a_body_is_held_to_a_bound(self, opened, monkeypatch, size):
        assert answers.MAX_BODY_BYTES == 64 * MEGABYTE
        monkeypatch.setattr(answers, "MAX_BODY_BYTES", 1_000)
        data = b"x" * size
        async with opened(always(200, data)) as (upstream, fake):
            for answer in (always(200, data), always(200, gzip.compress(data), content_encoding="gzip")):
                fake.handler = answer
                if size <= 1_000:
                    assert await upstream.request("GET", "/x") == data
                    continue
                with pytest.raises(UpstreamBrokenError):
                    await upstream.request("GET", "/x")

    async def test_an_endless_body_is_broken_off(self, opened):
        flood = Flood(OK + b"\r\n", b" " * MEGABYTE)
        async with opened(flood) as (upstream, _):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("GET", "/x")
            await until(lambda: flood.is_over)
        assert flood.sent < 80 * MEGABYTE

    async def test_an_endless_error_is_cut_off_and_known_by_its_status(self, opened):
        flood = Flood(b"HTTP/1.1 429 X\r\nretry-after: 7\r\n\r\n", b" " * MEGABYTE)
        async with opened(flood) as (upstream, _):
            for call in (upstream.request("GET", "/x"), upstream.stream("GET", "/x")):
                flood.sent = 0
                with pytest.raises(UpstreamBusyError) as caught:
                    await call
                assert caught.value.headers["retry-after"] == "7"
                await until(lambda: flood.is_over)
                assert flood.sent < 20 * MEGABYTE

    @pytest.mark.parametrize(
        ("head", "kind", "held"),
        [(OK, UpstreamBrokenError, 100 * MEGABYTE), (REFUSED, UpstreamRefusedError, 5 * MEGABYTE)],
    )
    async def test_a_bomb_of_gzip_costs_little_memory_and_lets_others_work(self, opened, head, kind, held):
        turns = 0

        async def work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with opened(sending(bomb(head))) as (upstream, _):
            others = asyncio.create_task(work())
            tracemalloc.start()
            try:
                with pytest.raises(kind):
                    await upstream.request("GET", "/x")
                assert tracemalloc.get_traced_memory()[1] < held
            finally:
                tracemalloc.stop()
                others.cancel()
        if kind is UpstreamBrokenError:
            assert turns > 200

    @pytest.mark.parametrize(
        "flood",
        [
            Flood(OK, b"".join(b"x-%d: v\r\n" % number for number in range(8_000))),
            Flood(OK + b"x-a: ", b"a" * MEGABYTE),
            Flood(OK + b"x-a", b"a" * MEGABYTE),
            Flood(b"HTTP/1.1 200 ", b"a" * MEGABYTE),
            Flood(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x-a: b\r\n" * 10_000),
        ],
        ids=["headers", "header", "name", "reason", "trailers"],
    )
    async def test_headers_are_bounded(self, opened, flood):
        flood.sent, flood.is_over = 0, False
        async with opened(flood) as (upstream, _):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("GET", "/x")
            await until(lambda: flood.is_over)
        assert flood.sent < 20 * MEGABYTE

    async def test_many_and_long_headers_are_still_headers(self, opened):
        lines = b"".join(b"x-header-%d: %b\r\n" % (number, b"x" * 8_000) for number in range(40))
        async with opened(sending(OK + lines + LENGTH % 2 + b"ok")) as (upstream, _):
            assert await upstream.request("GET", "/x") == b"ok"

    async def test_a_long_request_is_sent_whole(self, opened):
        text = "x" * 3 * MEGABYTE
        async with opened(always(200, b"{}")) as (upstream, fake):
            await upstream.request("POST", "/responses", body={"input": text})
        assert fake.requests[0].json == {"input": text}


class TestPacked:
    @pytest.mark.parametrize("wbits", [31, 15])
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_a_body_that_ends_inside_its_packing_is_broken(self, opened, wbits, is_chunked):
        async def handle(_request: Request, connection: Connection) -> None:
            data = packed(b'{"id": "whole JSON"}', wbits=wbits, ends=False)
            encoding = b"content-encoding: %b\r\n" % (b"gzip" if wbits == 31 else b"deflate")
            if not is_chunked:
                await connection.send(OK + encoding + LENGTH % len(data) + data)
                return
            await connection.send(OK + encoding + b"transfer-encoding: chunked\r\n\r\n")
            await connection.chunk(data)
            await connection.end_stream()

        async with opened(handle) as (upstream, fake):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("POST", "/responses", body={})
            with pytest.raises(UpstreamBrokenError):
                async for _ in await upstream.stream("POST", "/responses", body={}):
                    pass
        assert fake.count == 2

    @pytest.mark.parametrize("wbits", [31, 15])
    async def test_a_packed_body_may_come_in_crumbs(self, opened, wbits):
        data = packed(b"word " * 1_000, wbits=wbits)

        async def handle(_request: Request, connection: Connection) -> None:
            encoding = b"content-encoding: %b\r\n" % (b"gzip" if wbits == 31 else b"deflate")
            await connection.send(OK + encoding + LENGTH % len(data))
            for start in range(0, len(data), 4):
                await connection.send(data[start : start + 4])
                await asyncio.sleep(0)

        async with opened(handle) as (upstream, _):
            assert await upstream.request("GET", "/x") == b"word " * 1_000

    async def test_a_packed_stream_flows(self, opened):
        more = asyncio.Event()

        async def handle(_request: Request, connection: Connection) -> None:
            packer = zlib.compressobj(wbits=31)
            await connection.send(OK + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
            await connection.chunk(packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
            await more.wait()
            await connection.chunk(packer.compress(b"data: 2\n\n") + packer.flush())
            await connection.end_stream()

        async with opened(handle) as (upstream, _):
            pieces = aiter(await upstream.stream("GET", "/x"))
            assert await anext(pieces) == b"data: 1\n\n"
            more.set()
            assert [piece async for piece in pieces] == [b"data: 2\n\n"]

    async def test_a_reset_inside_a_packed_body_breaks_the_call(self, opened):
        async def handle(_request: Request, connection: Connection) -> None:
            data = packed(b"all of it")
            await connection.send(OK + b"content-encoding: gzip\r\n" + LENGTH % len(data) + data[:-4])
            connection.close()

        async with opened(handle) as (upstream, _):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("GET", "/x")

    @pytest.mark.parametrize(
        ("data", "encoding"),
        [
            (b"this is no gzip", "gzip"),
            (packed(b"{}") + b"and more", "gzip"),
            (packed(b"{}")[:5], "gzip"),
            (b"{}", "br"),
            (packed(packed(b"{}")), "gzip, gzip"),
        ],
    )
    async def test_what_cannot_be_unpacked_is_broken(self, opened, data, encoding):
        async with opened(always(200, data, content_encoding=encoding)) as (upstream, fake):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("GET", "/x")
            fake.handler = always(503, data, content_encoding=encoding)
            with pytest.raises(UpstreamServerError):
                await upstream.request("GET", "/x")

    @pytest.mark.parametrize("encoding", ["gzip", "identity", "GZIP"])
    async def test_an_empty_body_is_empty_however_it_is_packed(self, opened, encoding):
        async with opened(always(200, b"", content_encoding=encoding)) as (upstream, _):
            assert await upstream.request("DELETE", "/x") == b""

    async def test_a_packed_error_is_read(self, opened):
        data = packed(json.dumps({"error": {"message": "x", "code": "invalid_prompt"}}).encode())
        async with opened(always(400, data, content_encoding="gzip")) as (upstream, _):
            with pytest.raises(UpstreamRefusedError) as caught:
                await upstream.request("POST", "/responses", body={})
        assert caught.value.code == "invalid_prompt"

    async def test_events_are_asked_for_unpacked_and_answers_packed(self, opened):
        async with opened(always(200, b"{}")) as (upstream, fake):
            await upstream.request("GET", "/x")
            await (await upstream.stream("GET", "/x")).aclose()
        assert [sent.headers["accept-encoding"] for sent in fake.requests] == ["gzip, deflate", "identity"]


class TestNoAnswers:
    async def test_an_interim_answer_is_passed_over(self, opened):
        early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
        async with opened(sending(early + OK + LENGTH % 2 + b"ok")) as (upstream, _):
            assert await upstream.request("GET", "/x") == b"ok"

    async def test_a_body_without_a_length_ends_with_its_connection(self, opened):
        async with opened(sending(OK + b"\r\nall of it", closes=True)) as (upstream, fake):
            assert await upstream.request("GET", "/x") == b"all of it"
            assert await upstream.request("GET", "/x") == b"all of it"
        assert fake.count == 2

    @pytest.mark.parametrize(
        "sent",
        [
            OK + b"transfer-encoding: chunked\r\n\r\nno size\r\n",
            OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
            OK + b"bad header\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x00\x01",
            b"SSH-2.0-OpenSSH_9.9\r\n",
        ],
    )
    async def test_what_is_no_answer_breaks_the_call(self, opened, sent):
        async with opened(sending(sent, closes=True)) as (upstream, fake):
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("POST", "/responses", body={})
        assert fake.count == 1
