"""A multipart form with one file, as a stream of bytes: nothing of the file is held."""

import secrets
from collections.abc import AsyncIterator, Mapping


def multipart(
    fields: Mapping[str, str], filename: str, content_type: str, chunks: AsyncIterator[bytes]
) -> tuple[str, AsyncIterator[bytes]]:
    """Return the `content-type` header and the body. Source: RFC 7578; names are escaped as browsers do."""
    boundary = secrets.token_hex(16)
    return f"multipart/form-data; boundary={boundary}", _body(
        boundary, fields, filename, content_type, chunks
    )


async def _body(
    boundary: str, fields: Mapping[str, str], filename: str, content_type: str, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    start = f"--{boundary}\r\ncontent-disposition: form-data; name="
    for name, value in fields.items():
        yield f'{start}"{_escaped(name)}"\r\n\r\n{value}\r\n'.encode()
    file_type = f"content-type: {_escaped(content_type)}"
    yield f'{start}"file"; filename="{_escaped(filename)}"\r\n{file_type}\r\n\r\n'.encode()
    async for chunk in chunks:
        yield chunk
    yield f"\r\n--{boundary}--\r\n".encode()


def _escaped(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
