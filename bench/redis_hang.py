"""What a Redis that hangs costs streams: the gaps between one stream's events while other requests come in.

Three services, one stream of 100 tokens 20 ms apart each, and ten other requests a second beside it: `memory`
has no Redis, `hanging` has one that takes connections and never answers, and `blocking` asks the same one the
way slowapi's decorator does, on the event loop. Run: `python -m bench.redis_hang`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise
from typing import Any
from unittest import mock

import httpx2
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from app.core.limits.rate_limit import RateLimits, Window
from app.core.limits.shared_redis import CALL_SECONDS
from tests.security.redis_server import hanging_redis
from tests.security.support import GUARDED, KEY_A, bearer
from tests.support import embedded_upstream, make_settings, served

TOKENS, TOKEN_MS = 100, 20
BESIDE_SECONDS = 0.1


@contextmanager
def asking_on_the_loop(url: str) -> Iterator[None]:
    """Count in Redis with the blocking client, with the deadlines of ours."""
    storage = storage_from_string(url, socket_timeout=CALL_SECONDS, socket_connect_timeout=CALL_SECONDS)
    limiter = FixedWindowRateLimiter(storage)

    async def hit(_self: RateLimits, limit: Any, *names: str) -> Window:
        with suppress(Exception):
            limiter.hit(limit, *names)
        return Window(limit, 1, time.time() + 60, is_exceeded=False)

    with mock.patch.object(RateLimits, "_hit", hit):
        yield


@asynccontextmanager
async def requests_beside(client: httpx2.AsyncClient) -> AsyncIterator[None]:
    async def ask() -> None:
        while True:
            await asyncio.sleep(BESIDE_SECONDS)
            await client.get("assistants", headers=bearer(KEY_A))

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def gaps(storage: str) -> list[float]:
    """Milliseconds between the reads of one stream, ascending."""
    text = " ".join(["word"] * TOKENS)
    async with embedded_upstream(token_ms=TOKEN_MS) as url:
        settings = make_settings(
            openai_base_url=url,
            openai_api_key="key",
            rate_limit_storage=storage,
            rate_limit_reads="100000/minute",
            **GUARDED,
        )
        async with served(settings) as service, requests_beside(service.client):
            body = {"message": text, "stream": True}
            async with service.client.stream("POST", "chat", json=body, headers=bearer(KEY_A)) as response:
                assert response.status_code == 200
                times = [time.perf_counter() async for _ in response.aiter_bytes()]
    return sorted((after - before) * 1_000 for before, after in pairwise(times))


def told(name: str, found: list[float], plain: float) -> str:
    middle, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    return f"{name:9} p50 {middle:6.1f} ms   p99 {p99:7.1f} ms   x{p99 / plain:5.1f}   {len(found)} gaps"


async def main() -> None:
    plain = await gaps("memory://")
    base = plain[int(len(plain) * 0.99)]
    print(told("memory", plain, base))
    async with hanging_redis() as url:
        print(told("hanging", await gaps(url), base))
        with asking_on_the_loop(url):
            print(told("blocking", await gaps("memory://"), base))


if __name__ == "__main__":
    asyncio.run(main())
