"""Replicas that share a Redis, and what becomes of them while it is away."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from app.core.caller import Caller
from app.core.limits.rate_limit import RateLimits
from app.core.limits.shared_redis import SharedRedis
from bench.processes import free_port
from tests.security.redis_server import hanging_redis, redis_server
from tests.security.support import GUARDED, KEY_A, bearer
from tests.support import embedded_upstream, make_settings, until

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 40
CALLER = Caller("api_key", "key:a", counted_as="key:a", key_name="a")
READ = {"type": "http", "method": "GET", "path": "/api/v1/assistants"}


class Replica:
    """`main.py` in a process of its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = free_port()
        self.client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/api/v1/", headers=bearer(KEY_A), timeout=30
        )

    def events(self, name):
        lines = self.log.read_text().splitlines()
        return [line for line in lines if json.loads(line)["event"] == name]

    async def is_up(self):
        try:
            return (await self.client.get("health")).status_code == 200
        except httpx2.TransportError:
            return False


@asynccontextmanager
async def replica(folder, number, upstream, redis_url):
    found = Replica(folder / f"replica-{number}.log")
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(found.port),
        "AUTH_MODE": GUARDED["auth_mode"],
        "API_KEYS": json.dumps(GUARDED["api_keys"]),
        "SECRET_KEYS": json.dumps(GUARDED["secret_keys"]),
        "OPENAI_BASE_URL": upstream,
        "OPENAI_API_KEY": "key",
        "RATE_LIMIT_STORAGE": redis_url,
        "RATE_LIMIT_READS": f"{LIMIT}/hour",
        "LOG_FORMAT": "json",
    }
    with found.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "main.py"), cwd=folder, env=environment, stderr=log
        )
    try:
        await until(found.is_up)
        yield found
    finally:
        process.terminate()
        await process.wait()
        await found.client.aclose()


async def asked(replicas, count):
    """Ask all replicas at once, in turn; how often each status came back."""
    calls = [replicas[number % len(replicas)].client.get("assistants") for number in range(count)]
    answers = [response.status_code for response in await asyncio.gather(*calls)]
    return {status: answers.count(status) for status in sorted(set(answers))}


@pytest.mark.slow
@pytest.mark.needs_redis
async def test_three_processes_share_a_limit_and_outlive_its_redis(tmp_path):
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(tmp_path))
        upstream = await stack.enter_async_context(embedded_upstream())
        starting = [replica(tmp_path, number, upstream, redis.url) for number in range(3)]
        replicas = await asyncio.gather(*map(stack.enter_async_context, starting))

        assert await asked(replicas, LIMIT + 20) == {200: LIMIT, 429: 20}

        await redis.kill()
        assert await asked(replicas, 3 * LIMIT + 30) == {200: 3 * LIMIT, 429: 30}
        assert [len(each.events("redis_away")) for each in replicas] == [1, 1, 1]

        await redis.start()
        await until(lambda: all(each.events("redis_back") for each in replicas))
        assert await asked(replicas, LIMIT + 20) == {200: LIMIT, 429: 20}
        assert [len(each.events("redis_away")) for each in replicas] == [1, 1, 1]


@pytest.mark.needs_redis
async def test_headers_tell_what_all_replicas_have_used(tmp_path):
    settings = make_settings(**GUARDED, rate_limit_reads="5/minute")
    async with redis_server(tmp_path) as server:
        connections = [SharedRedis(server.url), SharedRedis(server.url)]
        try:
            first, second = (RateLimits(settings, redis) for redis in connections)
            assert (await first.admit(READ, CALLER))["ratelimit-remaining"] == "4"
            told = await second.admit(READ, CALLER)
            assert told["ratelimit-remaining"] == "3"
            assert 0 < int(told["ratelimit-reset"]) <= 60
            assert (await first.admit(READ, CALLER))["ratelimit-remaining"] == "2"
        finally:
            for redis in connections:
                await redis.aclose()


async def test_a_redis_that_hangs_holds_nobody_else_up():
    """While one request waits for Redis, all else on the loop goes on; the next one does not wait at all."""
    settings = make_settings(**GUARDED, rate_limit_reads="2/minute")
    async with hanging_redis() as url:
        redis = SharedRedis(url)
        limits = RateLimits(settings, redis)
        turns = 0
        waiting = asyncio.create_task(limits.admit(READ, CALLER))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0.005)
        assert turns > 10
        assert (await waiting)["ratelimit-remaining"] == "1"
        assert redis.is_away
        at_once = asyncio.create_task(limits.admit(READ, CALLER))
        await asyncio.sleep(0)
        assert at_once.done()
        assert (await at_once)["ratelimit-remaining"] == "0"
        await redis.aclose()


async def test_the_service_starts_before_its_redis(start, upstream):
    settings = GUARDED | {"rate_limit_storage": "redis://127.0.0.1:1/0", "rate_limit_reads": "2/minute"}
    async with start(url=upstream, **settings) as service:
        found = [
            (await service.client.get("assistants", headers=bearer(KEY_A))).status_code for _ in range(3)
        ]
    assert found == [200, 200, 429]
