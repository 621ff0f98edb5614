"""An upload costs the same memory whatever its size: it passes through the service and never rests in it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from tests.conftest import Start

MEGABYTE = 1024 * 1024
SIZE = 64 * MEGABYTE
ALLOWED_GROWTH = 32 * MEGABYTE
HEAD = (
    b'--bb\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--bb\r\ncontent-disposition: form-data; name="file"; filename="big.zip"\r\n\r\n'
)
TAIL = b"\r\n--bb--\r\n"


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_sixty_four_megabytes_pass_through(start: Start, tmp_path, adapter):
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        block = os.urandom(MEGABYTE)
        yield HEAD
        for _ in range(SIZE // MEGABYTE):
            seen.append(resident_bytes())
            yield block
        yield TAIL

    knobs = {"db": str(tmp_path / "upstream.db")}
    async with start(knobs=knobs, is_served=True, upstream_adapter=adapter) as service:
        headers = {"content-type": "multipart/form-data; boundary=bb"}
        response = await service.client.post("files", headers=headers, content=body())
        assert response.json()["bytes"] == SIZE
        # The first pieces warm everything up: buffers, parsers, the connection upstream.
        assert max(seen) - seen[8] < ALLOWED_GROWTH
        before = resident_bytes()
        received = 0
        async with service.client.stream("GET", f"files/{response.json()['id']}/content") as download:
            async for chunk in download.aiter_bytes():
                received += len(chunk)
                seen.append(resident_bytes())
        assert received == SIZE
        assert max(seen) - before < ALLOWED_GROWTH
