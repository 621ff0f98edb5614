"""What uvicorn, as this service sets it up, sends over a connection."""

import asyncio

HEALTH = b"GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\n"


async def answer_to(service, request):
    """Everything that comes back before the connection closes."""
    url = service.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_an_answer_before_a_close_is_whole(start):
    async with start(is_served=True) as service:
        answer = await answer_to(service, HEALTH + b"connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {len(body)}".encode() in head


async def test_bytes_that_are_no_request_are_answered(start):
    async with start(is_served=True) as service:
        answer = await answer_to(service, b"connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
