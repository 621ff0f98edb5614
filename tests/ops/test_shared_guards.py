"""Two replicas over one upstream and one Redis: what one guards, the other respects."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from app.core.limits.shared_locks import SharedLocks
from app.core.limits.shared_redis import SharedRedis
from app.core.upstream.errors import ConversationLockedError
from tests.api.test_tools import outputs_for, path_of, waiting_run
from tests.security.redis_server import redis_server
from tests.support import embedded_upstream, new_run, new_thread, run_to, stats

ROUNDS = 25
POSTS = 4


@asynccontextmanager
async def two_replicas(start, tmp_path, **settings):
    """Two services that share an upstream and a Redis; yields them and the upstream's URL."""
    async with redis_server(tmp_path) as redis, embedded_upstream() as url:
        shared = {"url": url, "rate_limit_storage": redis.url, "rate_limit_enabled": False} | settings
        async with start(**shared) as one, start(**shared) as two:
            yield (one, two), url


@pytest.mark.needs_redis
class TestToolOutputs:
    async def test_are_accepted_once_however_many_replicas_get_them(self, start, tmp_path):
        async with two_replicas(start, tmp_path) as (replicas, url):
            for number in range(ROUNDS):
                run = await waiting_run(replicas[0].client)
                before = (await stats(url))["responses_created"]
                body = {"tool_outputs": outputs_for(run)}
                posts = [
                    replicas[(number + index) % 2].client.post(path_of(run), json=body)
                    for index in range(POSTS)
                ]
                statuses = sorted(answer.status_code for answer in await asyncio.gather(*posts))
                assert statuses == [200, 400, 400, 400]
                assert (await stats(url))["responses_created"] == before + 1


@pytest.mark.needs_redis
class TestMetadata:
    async def test_changes_of_both_replicas_stay(self, start, tmp_path):
        async with two_replicas(start, tmp_path) as (replicas, _):
            thread_id = await new_thread(replicas[0].client, "hello")
            runs = []
            for number in range(6):
                here, there = replicas[number % 2].client, replicas[(number + 1) % 2].client
                runs.append(await new_run(here, thread_id))
                change = {"metadata": {"n": str(number)}}
                changed = await there.post(f"threads/{thread_id}", json=change)
                assert changed.json()["metadata"] == change["metadata"]
                await run_to(here, runs[-1], "completed")
            listed = (await replicas[0].client.get(f"threads/{thread_id}/runs")).json()["data"]
            assert [run["id"] for run in listed] == [run["id"] for run in runs[::-1]]


@pytest.mark.needs_redis
class TestLocks:
    async def test_of_one_name_are_held_by_one_replica_at_a_time(self, tmp_path):
        async with redis_server(tmp_path) as server:
            one, two = SharedRedis(server.url), SharedRedis(server.url)
            mine, theirs = SharedLocks(one, "a", 0), SharedLocks(two, "a", 0)
            async with mine.holding("x"), theirs.holding("y"), SharedLocks(two, "b", 0).holding("x"):
                with pytest.raises(ConversationLockedError):
                    async with theirs.holding("x"):
                        pytest.fail("both hold it")
            async with theirs.holding("x"):
                assert not two.is_away
            await one.aclose()
            await two.aclose()

    async def test_hold_within_a_process_while_redis_is_away(self, tmp_path):
        async with redis_server(tmp_path) as server:
            redis = SharedRedis(server.url)
            await server.kill()
            locks, order = SharedLocks(redis, "a", 0), []

            async def hold(name):
                async with locks.holding("x"):
                    order.append(f"{name} in")
                    await asyncio.sleep(0)
                    order.append(f"{name} out")

            await asyncio.gather(hold("one"), hold("two"))
            assert order == ["one in", "one out", "two in", "two out"]
            await redis.aclose()


class TestUnshared:
    @pytest.mark.parametrize(("proxies", "count"), [(["127.0.0.1"], 1), ([], 0)])
    async def test_a_start_behind_a_proxy_without_redis_warns(self, start, capsys, proxies, count):
        async with start(trusted_proxies=proxies, log_level="warning"):
            assert capsys.readouterr().err.count("replicas_share_nothing") == count
