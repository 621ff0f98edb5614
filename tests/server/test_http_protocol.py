"""Bounds on a request's head and pace."""

import asyncio
import json
from contextlib import suppress

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, BoundedHttpProtocol
from tests.security.support import GUARDED
from tests.support import frames

GET = b"GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n"
FORM = b"POST /api/v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'


async def answer_to(service, *pieces):
    """The status and the error's code of what comes back before the connection closes.

    None if the connection was reset: the service does not read what comes after it has refused.
    """
    reader, writer = await asyncio.open_connection(service.client.base_url.host, service.client.base_url.port)
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    try:
        answer = await reader.read()
    except ConnectionError:
        return None
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


HEADER = b"x-a: %b\r\n"


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        ([GET, HEADER % b"a" * (MAX_HEADERS + 1), b"\r\n"], 431, "headers_too_large"),
        ([GET, HEADER % (b"a" * MAX_HEAD_BYTES), b"\r\n"], 431, "headers_too_large"),
        ([b"GET /?q=" + b"a" * MAX_URL_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"], 414, "url_too_long"),
        ([b"hello\r\n\r\n"], 400, "invalid_http"),
    ],
)
async def test_a_head_beyond_the_bounds(start, pieces, status, code):
    async with start(is_served=True) as service:
        assert await answer_to(service, *pieces) == (status, code)
        assert (await service.client.get("health")).status_code == 200


@pytest.mark.parametrize("begin", [GET + b"x-a: ", GET, b"GET /"], ids=["a value", "a name", "a URL"])
async def test_a_head_without_an_end_is_cut_off(start, begin):
    async with start(is_served=True) as service:
        refusal = await answer_to(service, begin, *[b"a" * 65_536] * 400)
        assert refusal in {None, (431, "headers_too_large"), (414, "url_too_long")}
        assert (await service.client.get("health")).status_code == 200


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"GET /api"],
        [GET],
        [b"POST /api/v1/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n", b"{"],
        [FORM + b"content-length: 500000\r\n\r\n", PART, b"a" * 60_000],
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "a stuck upload"],
)
async def test_a_request_that_does_not_arrive_in_time(start, pieces):
    async with start(is_served=True, request_timeout_seconds=0.2) as service:
        assert await answer_to(service, *pieces) == (408, "request_timeout")


async def test_a_connection_between_two_requests_may_be_idle(start):
    async with start(is_served=True, request_timeout_seconds=0.1) as service:
        url = service.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        for _ in range(2):
            writer.write(GET + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            # Longer than a request may take: another one is late meanwhile.
            await answer_to(service, GET)
        writer.close()


async def test_of_too_many_unfinished_requests_the_oldest_goes(start, monkeypatch):
    monkeypatch.setattr("app.server.uvicorn_server._most_unfinished", lambda: 3)
    async with start(is_served=True) as service:
        url = service.client.base_url
        held = [await asyncio.open_connection(url.host, url.port) for _ in range(4)]
        assert (await held[0][0].read()).startswith(b"HTTP/1.1 408")
        assert (await service.client.get("health")).status_code == 200
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
async def test_clients_of_http_1_0_get_no_chunks(start, accept):
    async with start(is_served=True) as service:
        url = service.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        body = b'{"message": "hello", "stream": true}'
        writer.write(
            b"POST /api/v1/chat HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n"
            b"content-type: application/json\r\naccept: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (accept.encode(), len(body), body)
        )
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    if accept == "text/plain":
        assert content == b"You said: hello"
    else:
        assert frames(content.decode())[-1][1]["status"] == "completed"


@pytest.mark.parametrize(("path", "status"), [("health", b"200"), ("nothing", b"401")])
async def test_clients_of_http_1_0_get_whole_answers(start, path, status):
    async with start(is_served=True, **GUARDED) as service:
        url = service.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET /api/v1/{path} HTTP/1.0\r\n\r\n".encode())
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.split()[1] == status
    assert b"content-length: %d" % len(content) in head


def test_uvicorns_protocol_still_has_what_is_extended():
    extended = {
        name for name in vars(BoundedHttpProtocol) if callable(getattr(HttpToolsProtocol, name, None))
    }
    assert extended >= {
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "send_400_response",
    }
