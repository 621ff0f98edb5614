"""Answers to clients of HTTP/1.0, which know no chunks: a body of unknown length ends with the connection."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def answer_unchunked(cycle: RequestResponseCycle) -> None:
    """Let the answer of a request be sent without chunks; call it before the app runs."""
    send, is_unsized = cycle.send, False

    async def unchunked(message: Any) -> None:
        nonlocal is_unsized
        if message["type"] == "http.response.start":
            is_unsized = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
            if is_unsized:
                cycle.chunked_encoding = False
        elif is_unsized:
            # uvicorn compares what is sent with what was announced; here every piece is.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = unchunked  # type: ignore[method-assign]
