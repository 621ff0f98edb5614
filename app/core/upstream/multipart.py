"""A multipart form with one file, written as a stream so that the file is never held in memory."""

import secrets
from collections.abc import AsyncIterator, Mapping


def multipart(
    fields: Mapping[str, str], filename: str, content_type: str, chunks: AsyncIterator[bytes]
) -> tuple[str, AsyncIterator[bytes]]:
    """Return the `content-type` header and the body, as RFC 7578 has it; names are escaped as browsers do.

    Fields that appear while the chunks are read follow the file.
    """
    boundary = secrets.token_hex(16)
    body = _body(boundary, fields, filename, content_type, chunks)
    return f"multipart/form-data; boundary={boundary}", body


async def _body(
    boundary: str, fields: Mapping[str, str], filename: str, content_type: str, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    start = f"--{boundary}\r\ncontent-disposition: form-data; name="
    # A copy, because `fields` may grow while the file is read.
    before = dict(fields)
    for name, value in before.items():
        yield f'{start}"{_escaped(name)}"\r\n\r\n{value}\r\n'.encode()
    file_type = f"content-type: {_escaped(content_type)}"
    yield f'{start}"file"; filename="{_escaped(filename)}"\r\n{file_type}\r\n\r\n'.encode()
    async for chunk in chunks:
        yield chunk
    yield b"\r\n"
    for name, value in fields.items():
        if name not in before:
            yield f'{start}"{_escaped(name)}"\r\n\r\n{value}\r\n'.encode()
    yield f"--{boundary}--\r\n".encode()


def _escaped(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
