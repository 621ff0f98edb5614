"""Upstreams that store responses: what other requests do while one streams or ends, and odd ones of them."""

import asyncio
import json
import time

import pytest

from tests.fake_openai import answered
from tests.fake_upstream import fake_upstream
from tests.store.support import chat, rows_of
from tests.support import (
    ASSISTANT,
    embedded_upstream,
    error_of,
    frames,
    is_idle,
    names,
    new_run,
    new_thread,
    until,
)


class StoringUpstream:
    """Stores responses, but knows one only when it has ended; a stream waits until it may begin and end."""

    def __init__(self):
        self.ids = iter([f"resp_{number}" for number in range(100)])
        self.ended = set()
        self.asked, self.may_begin, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_begin.set()
        self.may_end.set()

    async def handle(self, request, connection):
        path = request.path.removeprefix("/v1")
        response_id = path.removeprefix("/responses/")
        if (request.method, path) == ("POST", "/responses"):
            await self._respond(request.json, connection)
        elif request.method == "GET" and response_id in self.ended:
            await connection.answer(200, _response(response_id))
        else:
            await connection.answer(
                404, {"error": {"message": f"Response with id '{response_id}' not found."}}
            )

    async def _respond(self, body, connection):
        response = _response(next(self.ids))
        if not body.get("stream"):
            self.ended.add(response["id"])
            await connection.answer(200, response)
            return
        self.asked.set()
        await self.may_begin.wait()
        await connection.start_stream()
        begun = {**response, "status": "in_progress", "output": []}
        await connection.chunk(_event("response.created", begun))
        await self.may_end.wait()
        self.ended.add(response["id"])
        await connection.chunk(_event("response.completed", response))
        await connection.end_stream()


def _response(response_id):
    found = {**answered({}), "id": response_id, "created_at": int(time.time())}
    del found["conversation"]
    return found


def _event(kind, response):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'response': response})}\n\n".encode()


@pytest.fixture
def begin(start, store_url):
    """Start the service with conversations of its own; the rest are settings."""

    def started(url, **settings):
        return start(url=url, is_served=True, conversations="own", store_url=store_url, **settings)

    return started


async def _roles(client, thread_id):
    page = (await client.get(f"threads/{thread_id}/messages?order=asc")).json()
    return [message["role"] for message in page["data"]]


async def test_a_stream_that_others_ask_for_goes_on(begin):
    stored = StoringUpstream()
    async with fake_upstream(stored.handle) as upstream, begin(upstream.url) as service:
        thread_id = (await chat(service.client, "hi"))["thread_id"]
        stored.may_end.clear()
        body = {"message": "more", "thread_id": thread_id, "stream": True}
        async with service.client.stream("POST", "chat", json=body) as stream:
            lines = stream.aiter_lines()
            while "run_id" not in (line := await anext(lines)):
                continue
            run_id = json.loads(line.removeprefix("data: "))["run_id"]
            for _ in range(2):
                run = await service.client.get(f"threads/{thread_id}/runs/{run_id}")
                assert run.status_code == 200, run.text
                assert run.json()["status"] == "in_progress"
                assert await _roles(service.client, thread_id) == ["user", "assistant"]
            stored.may_end.set()
            rest = [line async for line in lines]
        assert names(frames("\n".join(rest)))[-1] == "done"
        assert await _roles(service.client, thread_id) == ["user", "assistant"] * 2


@pytest.mark.needs_postgres
async def test_a_thread_deleted_before_its_answer_began_leaves_nothing(start, postgres_url):
    stored = StoringUpstream()
    common = {"is_served": True, "conversations": "own", "store_url": postgres_url}
    async with (
        fake_upstream(stored.handle) as upstream,
        start(url=upstream.url, **common) as one,
        start(url=upstream.url, **common) as other,
    ):
        thread_id = (await chat(one.client, "hi"))["thread_id"]
        stored.asked.clear()
        stored.may_begin.clear()
        body = {"message": "secret", "thread_id": thread_id, "stream": True}
        asking = asyncio.create_task(one.client.post("chat", json=body))
        await stored.asked.wait()
        assert (await other.client.delete(f"threads/{thread_id}")).json()["deleted"] is True
        stored.may_begin.set()
        assert "deleted" in error_of(await asking, 502)["message"]
    for table in ("conversations", "items", "responses", "leases"):
        assert rows_of(postgres_url, f"SELECT * FROM {table}") == []  # noqa: S608 - literal names


@pytest.mark.parametrize("surface", ["chat", "run"])
async def test_an_id_that_comes_again_is_refused(begin, surface):
    stored = StoringUpstream()
    async with fake_upstream(stored.handle) as upstream, begin(upstream.url) as service:
        client = service.client
        # The first turn tells that responses are stored.
        await chat(client, "hi")
        first = await chat(client, "hi")
        stored.ids = iter(["resp_1", "resp_1", "resp_2"])
        for thread_id in (first["thread_id"], await new_thread(client, "hello")):
            if surface == "run":
                answer = await client.post(f"threads/{thread_id}/runs", json={"assistant_id": ASSISTANT})
            else:
                answer = await client.post("chat", json={"message": "more", "thread_id": thread_id})
            error_of(answer, 502)
        assert (await chat(client, "on", thread_id=thread_id))["message"] == "Hello."
        assert await _roles(client, first["thread_id"]) == ["user", "assistant"]


async def test_a_message_is_added_after_a_run_that_ended_unseen(begin):
    async with embedded_upstream(kind="responses") as url, begin(url, lock_wait_seconds=0.1) as service:
        # The first turn tells that responses are stored.
        await chat(service.client, "hi")
        run = await new_run(service.client, await new_thread(service.client, "hello"))
        await until(lambda: is_idle(url))
        message = {"role": "user", "content": "more"}
        added = await service.client.post(f"threads/{run['thread_id']}/messages", json=message)
        assert added.status_code == 200, added.text
        assert await _roles(service.client, run["thread_id"]) == ["user", "assistant", "user"]


async def test_two_deletions_of_a_thread_with_a_run_end_soon(begin):
    async with embedded_upstream(kind="nothing", first_token_ms=60_000) as url, begin(url) as service:
        run = await new_run(service.client, await new_thread(service.client, "hello"))
        async with asyncio.timeout(8):
            both = await asyncio.gather(
                *(service.client.delete(f"threads/{run['thread_id']}") for _ in range(2))
            )
        assert 200 in {answer.status_code for answer in both} <= {200, 404}
