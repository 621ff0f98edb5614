"""The contract of both adapters for uploads: what they send, and how they end when something goes wrong."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.core.upstream.errors import UpstreamBrokenError, UpstreamRefusedError, UpstreamTimeoutError
from app.core.upstream.port import Upstream
from tests.fake_upstream import Connection, always
from tests.support import until

CANARY = "sk-secret-of-org-acme at https://internal.example"


async def pieces(*found: bytes) -> AsyncIterator[bytes]:
    for piece in found:
        yield piece


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536


async def upload(upstream: Upstream, chunks: AsyncIterator[bytes]) -> bytes:
    return await upstream.upload(
        "/files",
        fields={"purpose": "assistants"},
        filename='a "b"\r\n.txt',
        content_type="text/plain",
        chunks=chunks,
    )


class TestUploads:
    async def test_an_upload_streams_one_multipart_file(self, opened):
        async with opened(always(200, b'{"id": "file-1"}')) as (upstream, fake):
            assert await upload(upstream, pieces(b"first ", b"", b"second")) == b'{"id": "file-1"}'
        sent = fake.requests[0]
        boundary = sent.headers["content-type"].removeprefix("multipart/form-data; boundary=").encode()
        parts = sent.body.split(b"--" + boundary)
        assert parts[1].endswith(b'name="purpose"\r\n\r\nassistants\r\n')
        assert b'name="file"; filename="a %22b%22%0D%0A.txt"\r\ncontent-type: text/plain\r\n\r\n' in parts[2]
        assert parts[2].endswith(b"\r\n\r\nfirst second\r\n")
        assert parts[3] == b"--\r\n"
        assert sent.headers["transfer-encoding"] == "chunked"
        assert sent.headers["authorization"] == "Bearer key"

    async def test_a_refusal_is_told_as_of_any_request(self, opened):
        async with opened(always(413, {"error": {"message": CANARY}})) as (upstream, _):
            with pytest.raises(UpstreamRefusedError) as caught:
                await upload(upstream, pieces(b"x"))
        assert "secret" not in str(caught.value.body())

    async def test_an_upstream_that_answers_before_the_end_is_listened_to(self, opened_raw):
        async def refuse(reader: asyncio.StreamReader, connection: Connection) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await connection.answer(413, {"error": {"message": "x", "code": "string_above_max_length"}})
            await connection.until_gone()

        async with opened_raw(refuse) as (upstream, gone):
            with pytest.raises(UpstreamRefusedError) as caught:
                await upload(upstream, endless())
            assert caught.value.code == "string_above_max_length"
            await until(gone.is_set)

    async def test_an_early_answer_leaves_no_half_sent_upload_behind(self, opened_raw, connections):
        async def refuse(reader: asyncio.StreamReader, connection: Connection) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await connection.send(b"HTTP/1.1 413 X\r\ncontent-length: 99\r\n\r\n")
            await asyncio.Event().wait()

        async with opened_raw(refuse, openai_timeout_seconds=0.2) as (upstream, _):
            uploading = asyncio.create_task(upload(upstream, endless()))
            await until(lambda: connections)
            transport = connections[0].transport
            with pytest.raises(UpstreamTimeoutError):
                await uploading
            assert transport.is_closing()
            assert transport.get_write_buffer_size() == 0

    async def test_an_upload_that_our_side_breaks_off_is_broken(self, opened_raw):
        async def wrong() -> AsyncIterator[bytes]:
            yield b"x"
            raise LookupError(CANARY)

        taken = b""

        async def take(reader: asyncio.StreamReader, _connection: Connection) -> None:
            nonlocal taken
            taken = await reader.read(-1)

        async with opened_raw(take) as (upstream, gone):
            with pytest.raises(UpstreamBrokenError) as caught:
                await upload(upstream, wrong())
            assert "secret" not in str(caught.value.body())
            await until(gone.is_set)
        assert b"x" in taken
        assert not taken.endswith(b"0\r\n\r\n")

    async def test_an_upstream_that_hangs_up_breaks_the_upload(self, opened_raw):
        async def hang_up(reader: asyncio.StreamReader, _connection: Connection) -> None:
            await reader.readuntil(b"\r\n\r\n")

        async with opened_raw(hang_up) as (upstream, _):
            with pytest.raises(UpstreamBrokenError):
                await upload(upstream, endless())


class TestProgress:
    async def test_an_upstream_that_takes_nothing_ends_the_upload(self, opened_raw, connections):
        async def stall(_reader: asyncio.StreamReader, _connection: Connection) -> None:
            await asyncio.Event().wait()

        async with opened_raw(stall, openai_timeout_seconds=0.3) as (upstream, _):
            uploading = asyncio.create_task(upload(upstream, endless()))
            await until(lambda: connections)
            transport = connections[0].transport
            with pytest.raises(UpstreamTimeoutError):
                await uploading
            assert transport.is_closing()
            # What the upstream has not taken would otherwise keep the connection open.
            assert transport.get_write_buffer_size() == 0

    async def test_an_upload_may_take_longer_than_the_timeout_while_it_flows(self, opened):
        async def slow() -> AsyncIterator[bytes]:
            for _ in range(4):
                await asyncio.sleep(0.2)
                yield b"x"

        async with opened(always(200, b"{}"), openai_timeout_seconds=0.5) as (upstream, fake):
            assert await upload(upstream, slow()) == b"{}"
        assert b"xxxx" in fake.requests[0].body

    async def test_waiting_for_our_own_side_is_no_silence_of_the_upstream(self, opened):
        async def late() -> AsyncIterator[bytes]:
            await asyncio.sleep(0.4)
            yield b"x"

        async with opened(always(200, b"{}"), openai_timeout_seconds=0.2) as (upstream, _):
            assert await upload(upstream, late()) == b"{}"

    @pytest.mark.parametrize(
        "start", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", b"HTTP/1.1 500 X\r\nx: "]
    )
    async def test_an_answer_that_drips_ends_in_time(self, opened_raw, start):
        async def drip(reader: asyncio.StreamReader, connection: Connection) -> None:
            await reader.readuntil(b"--\r\n")
            await connection.send(start)
            while True:
                await connection.send(b"x" if start else b"HTTP/1.1 102 Processing\r\n\r\n")
                await asyncio.sleep(0.05)

        async with opened_raw(drip, openai_timeout_seconds=0.3) as (upstream, gone):
            with pytest.raises(UpstreamTimeoutError):
                await upload(upstream, pieces(b"x"))
            await until(gone.is_set)

    async def test_an_upload_has_a_longest_life(self, opened):
        async def trickle() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.05)

        limits = {"stream_max_seconds": 0.4, "run_expires_seconds": 0.4}
        async with opened(always(200, b"{}"), **limits) as (upstream, _):
            with pytest.raises(UpstreamTimeoutError):
                await upload(upstream, trickle())
