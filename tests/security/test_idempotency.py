"""A repeated request is answered once: in this process, and among replicas that share a Redis."""

import asyncio
import re

import pytest
from redis.asyncio import Redis

from app.core.limits.idempotency_stores import Answer, MemoryRecords, Record, StartedRun
from tests.fake_upstream import fake_upstream
from tests.security.redis_server import redis_server
from tests.security.support import GUARDED, KEY_A, KEY_B, bearer
from tests.support import ASSISTANT, embedded_upstream, error_of, frames, new_thread, stats, text_of, until

CHAT = {"message": "hello"}
MESSAGE = {"role": "user", "content": "hello"}
RUN = {"assistant_id": ASSISTANT, "additional_messages": [MESSAGE]}
NEW_RUN = {"assistant_id": ASSISTANT, "thread": {"messages": [MESSAGE]}}


def keyed(key="k1", **headers):
    return {"idempotency-key": key} | headers


async def started(upstream):
    return (await stats(upstream))["responses_created"]


class TestWholeAnswers:
    @pytest.mark.parametrize(
        ("path", "body", "runs"),
        [
            ("chat", CHAT, 1),
            ("threads", {}, 0),
            ("threads/runs", NEW_RUN, 1),
            ("{t}/messages", MESSAGE, 0),
            ("{t}/runs", RUN, 1),
        ],
    )
    async def test_come_twice_and_are_made_once(self, client, upstream, path, body, runs):
        path = path.format(t=f"threads/{await new_thread(client)}")
        first = await client.post(path, json=body, headers=keyed())
        assert first.status_code == 200, first.text
        again = await client.post(path, json=body, headers=keyed())
        assert again.status_code == 200
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert await started(upstream) == runs
        other = await client.post(path, json=body, headers=keyed("k2"))
        assert other.json() != first.json()

    async def test_headers_come_again_too(self, client):
        body = {"unheard_of": 1}
        first = await client.post("threads", json=body, headers=keyed())
        again = await client.post("threads", json=body, headers=keyed())
        assert again.headers["x-ignored-params"] == first.headers["x-ignored-params"] == "unheard_of"

    async def test_another_body_is_refused(self, client, upstream):
        await client.post("chat", json=CHAT, headers=keyed())
        response = await client.post("chat", json={"message": "other"}, headers=keyed())
        error = error_of(response, 422)
        assert error["type"] == "idempotency_error"
        assert await started(upstream) == 1

    async def test_a_repeat_waits_for_the_first(self, start):
        async with embedded_upstream(first_token_ms=300) as url, start(url=url) as service:
            calls = [service.client.post("chat", json=CHAT, headers=keyed()) for _ in range(5)]
            answers = await asyncio.gather(*calls)
            assert {answer.content for answer in answers} == {answers[0].content}
            assert [answer.status_code for answer in answers] == [200] * 5
            assert await started(url) == 1

    async def test_routes_and_owners_have_keys_of_their_own(self, start, upstream):
        async with start(url=upstream, **GUARDED) as service:
            seen = set()
            for headers in (bearer(KEY_A), bearer(KEY_B), bearer(KEY_A, x_user_id="u1")):
                response = await service.client.post("threads", json={}, headers=headers | keyed())
                seen.add(response.json()["id"])
            response = await service.client.post("chat", json=CHAT, headers=bearer(KEY_A) | keyed())
        assert response.status_code == 200
        assert len(seen) == 3

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", b"\xff"])
    async def test_keys_that_are_none_are_refused(self, client, key):
        response = await client.post("chat", json=CHAT, headers={"idempotency-key": key})
        assert error_of(response, 400)["param"] == "idempotency-key"

    async def test_a_client_that_leaves_finds_its_answer_later(self, start):
        async with embedded_upstream(first_token_ms=500) as url, start(url=url, is_served=True) as service:
            leaving = asyncio.create_task(service.client.post("chat", json=CHAT, headers=keyed()))
            await until(lambda: started(url))
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            response = await service.client.post("chat", json=CHAT, headers=keyed())
            assert response.status_code == 200
            assert "hello" in response.json()["message"]
            assert await started(url) == 1


class TestStreams:
    @pytest.mark.parametrize(("path", "body"), [("threads/runs", NEW_RUN), ("chat", CHAT)])
    async def test_a_repeat_follows_the_same_run(self, live, upstream, path, body):
        body = body | {"stream": True}
        first = await live.post(path, json=body, headers=keyed())
        again = await live.post(path, json=body, headers=keyed())
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert run_ids(first.text) == run_ids(again.text)
        assert len(run_ids(first.text)) == 1
        if path != "chat":
            assert text_of(frames(first.text)) == text_of(frames(again.text)) != ""
        assert await started(upstream) == 1

    async def test_a_client_that_was_cut_off_gets_the_whole(self, start):
        async with embedded_upstream(token_ms=100) as url, start(url=url, is_served=True) as service:
            body = CHAT | {"stream": True}
            async with service.client.stream("POST", "chat", json=body, headers=keyed()) as cut:
                async for _ in cut.aiter_bytes():
                    break
            again = await service.client.post("chat", json=body, headers=keyed())
            assert "hello" in again.text
            assert frames(again.text)[-1][1]["status"] == "completed"
            assert await started(url) == 1


class TestFailures:
    @pytest.mark.parametrize("status", [429, 401])
    async def test_that_began_nothing_are_tried_again(self, start, status):
        async with fake_upstream(failing_once(status)) as fake, start(url=fake.url) as service:
            first = await service.client.post("threads", json={}, headers=keyed())
            assert first.status_code >= 400
            again = await service.client.post("threads", json={}, headers=keyed())
        assert again.status_code == 200
        assert fake.count == 2

    @pytest.mark.parametrize(("status", "told"), [(500, 502), (502, 502), (503, 502), (504, 504)])
    @pytest.mark.parametrize(
        ("path", "body"), [("threads", {}), ("chat", CHAT), ("chat", CHAT | {"stream": True})]
    )
    async def test_of_an_upstream_that_may_have_begun_are_not(self, start, status, told, path, body):
        async with fake_upstream(failing_once(status)) as fake, start(url=fake.url) as service:
            answers = [await service.client.post(path, json=body, headers=keyed()) for _ in range(3)]
        assert fake.count == 1
        assert [answer.status_code for answer in answers] == [told] * 3
        assert [answer.headers["x-should-retry"] for answer in answers] == ["false"] * 3
        assert "retry-after" not in answers[0].headers

    async def test_whose_answer_was_lost_are_not(self, start):
        async def lost(_request, connection):
            connection.reset()

        async with fake_upstream(lost) as fake, start(url=fake.url) as service:
            answers = [await service.client.post("threads", json={}, headers=keyed()) for _ in range(3)]
        assert fake.count == 1
        assert [error_of(answer, 502)["code"] for answer in answers] == ["upstream_broken"] * 3

    async def test_of_the_request_itself_are_tried_again(self, client):
        for _ in range(2):
            response = await client.post("threads/thread_0/messages", json=MESSAGE, headers=keyed())
            error_of(response, 404)
            assert "idempotent-replayed" not in response.headers


class TestMemory:
    async def test_forgets_the_oldest_beyond_its_bound(self):
        records = MemoryRecords(ttl_seconds=60, max_bytes=100)
        for name in ("a", "b"):
            assert await records.claim(name, b"f") is None
            await records.put(name, Record(b"f", Answer(200, {}, "x" * 60)))
        assert await records.claim("a", b"f") is None
        found = await records.claim("b", b"f")
        assert found is not None
        assert isinstance(found.outcome, Answer)

    async def test_forgets_when_its_time_is_over(self):
        records = MemoryRecords(ttl_seconds=-1)
        await records.put("a", Record(b"f", StartedRun("t", "r")))
        assert await records.claim("a", b"f") is None


@pytest.mark.needs_redis
class TestReplicas:
    async def test_answer_once_together(self, start, tmp_path):
        async with redis_server(tmp_path) as redis, embedded_upstream(first_token_ms=300) as url:
            shared = GUARDED | {"rate_limit_storage": redis.url}
            async with start(url=url, **shared) as one, start(url=url, **shared) as two:
                headers = bearer(KEY_A) | keyed()
                calls = [each.client.post("chat", json=CHAT, headers=headers) for each in (one, two) * 3]
                answers = await asyncio.gather(*calls)
                assert {answer.content for answer in answers} == {answers[0].content}
                assert await started(url) == 1
                response = await two.client.post("chat", json={"message": "other"}, headers=headers)
                error_of(response, 422)

    async def test_start_nothing_while_it_is_unknown_who_was_first(self, start, tmp_path, upstream):
        async with redis_server(tmp_path) as redis:
            shared = GUARDED | {"rate_limit_storage": redis.url}
            async with start(url=upstream, **shared) as service:
                headers = bearer(KEY_A) | keyed()
                first = await service.client.post("chat", json=CHAT, headers=headers)
                await redis.kill()
                again = await service.client.post("chat", json=CHAT, headers=headers)
                assert again.content == first.content
                unknown = await service.client.post("chat", json=CHAT, headers=headers | keyed("k2"))
                assert error_of(unknown, 503)["code"] == "idempotency_unavailable"
                assert unknown.headers["retry-after"] == "1"
                assert await started(upstream) == 1

    async def test_a_claim_outlives_a_redis_that_starts_again(self, start, tmp_path):
        async with redis_server(tmp_path) as redis, embedded_upstream(first_token_ms=1_500) as url:
            shared = GUARDED | {"rate_limit_storage": redis.url}
            async with start(url=url, **shared) as one, start(url=url, **shared) as two:
                headers = bearer(KEY_A) | keyed()
                first = asyncio.create_task(one.client.post("chat", json=CHAT, headers=headers))
                await until(lambda: started(url))
                await redis.kill()
                here = asyncio.create_task(one.client.post("chat", json=CHAT, headers=headers))
                await redis.start()

                there = []

                async def two_answers():
                    there.append(await two.client.post("chat", json=CHAT, headers=headers))
                    return there[-1].status_code != 503

                await until(two_answers)
                assert (await first).content == (await here).content == there[-1].content
                assert await started(url) == 1

    async def test_outcomes_are_told_to_a_redis_that_starts_again(self, start, tmp_path, upstream):
        async with redis_server(tmp_path) as redis:
            shared = GUARDED | {"rate_limit_storage": redis.url}
            async with start(url=upstream, **shared) as one, start(url=upstream, **shared) as two:
                headers = bearer(KEY_A) | keyed()
                first = await one.client.post("chat", json=CHAT, headers=headers)
                await redis.kill()
                await redis.start()
                there = []

                async def two_answers():
                    there.append(await two.client.post("chat", json=CHAT, headers=headers))
                    return there[-1].status_code != 503

                await until(two_answers)
                assert there[-1].content == first.content
                assert await started(upstream) == 1

    async def test_a_full_redis_and_a_damaged_record_double_nothing(self, start, tmp_path):
        async with redis_server(tmp_path) as redis, embedded_upstream(first_token_ms=200) as url:
            shared = GUARDED | {"rate_limit_storage": redis.url}
            async with start(url=url, **shared) as service, Redis.from_url(redis.url) as keys:
                headers = bearer(KEY_A) | keyed()
                assert (await service.client.post("chat", json=CHAT, headers=headers)).status_code == 200
                for name in await keys.keys("soloist:idempotency:*"):
                    await keys.set(name, "garbage")
                await keys.config_set("maxmemory", "1mb")
                calls = [
                    service.client.post("chat", json=CHAT, headers=headers | keyed("k2")) for _ in range(4)
                ]
                answers = await asyncio.gather(*calls)
                assert {answer.content for answer in answers} == {answers[0].content}
                assert await started(url) == 2
            async with start(url=url, **shared) as other:
                again = await other.client.post("chat", json=CHAT, headers=headers)
                assert again.status_code == 200


def failing_once(status):
    seen = []

    async def handle(_request, connection):
        seen.append(1)
        if len(seen) == 1:
            await connection.answer(status, {"error": {"message": "no"}})
        else:
            body = {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
            await connection.answer(200, body)

    return handle


def run_ids(text):
    return set(re.findall(r"run_[0-9a-f]{20,}", text))
