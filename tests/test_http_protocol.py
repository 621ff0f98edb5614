"""What the service writes in one moment leaves as one packet, and nothing that it wrote is lost."""

import asyncio

import pytest

from app.http_protocol import JoiningTransport

HEALTH = b"GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n"


class Recorder(asyncio.Transport):
    """Remembers what reaches the real transport."""

    def __init__(self):
        self.calls = []
        self.is_closed = False

    def write(self, data):
        self.calls.append(bytes(data))

    def close(self):
        self.calls.append("close")

    def abort(self):
        self.calls.append("abort")

    def is_closing(self):
        return self.is_closed


@pytest.fixture
def real():
    return Recorder()


@pytest.fixture
async def joining(real):
    return JoiningTransport(real, asyncio.get_running_loop())


async def first_read(service, request):
    url = service.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request)
    first, rest = await reader.read(65_536), b""
    if b"connection: close" in request:
        rest = await reader.read()
    writer.close()
    return first, rest


async def test_head_and_body_come_in_one_read(start):
    async with start(is_served=True) as service:
        first, _ = await first_read(service, HEALTH + b"\r\n")
    head, _, body = first.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {len(body)}".encode() in head
    assert body


async def test_an_answer_before_a_close_is_whole(start):
    async with start(is_served=True) as service:
        first, rest = await first_read(service, HEALTH + b"connection: close\r\n\r\n")
    head, _, body = (first + rest).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head


async def test_bytes_that_are_no_request_are_answered(start):
    async with start(is_served=True) as service:
        first, rest = await first_read(service, b"connection: close\r\n\r\n")
    assert (first + rest).startswith(b"HTTP/1.1 400")


async def test_what_is_written_in_one_moment_is_one_write(real, joining):
    for piece in (b"a", b"b", b"c"):
        joining.write(piece)
    assert real.calls == []
    await asyncio.sleep(0)
    assert real.calls == [b"abc"]
    joining.write(b"d")
    await asyncio.sleep(0)
    assert real.calls == [b"abc", b"d"]


async def test_much_is_written_through_at_once(real, joining):
    joining.write(b"head")
    joining.write(b"x" * 70_000)
    assert real.calls == [b"head" + b"x" * 70_000]
    await asyncio.sleep(0)
    assert len(real.calls) == 1


async def test_a_close_sends_what_was_written_before_and_an_abort_does_not(real, joining):
    joining.write(b"a")
    joining.close()
    joining.write(b"b")
    joining.abort()
    await asyncio.sleep(0)
    assert real.calls == [b"a", "close", "abort"]


async def test_nothing_is_written_to_a_connection_that_is_gone(real, joining):
    joining.write(b"a")
    real.is_closed = True
    await asyncio.sleep(0)
    assert real.calls == []
