"""Turns on conversations of our own: long threads, reasoning, open calls, several writers, deletion."""

import asyncio

import pytest

from tests.api.test_tools import outputs_for, submit, waiting_run
from tests.fake_upstream import fake_upstream
from tests.store.support import chat, rows_of
from tests.support import (
    WEATHER,
    embedded_upstream,
    error_of,
    finished_run,
    frames,
    is_idle,
    new_run,
    new_thread,
    run_to,
    stats,
    until,
)

NOTHING = {"kind": "nothing", "unsupported": "refuse"}


@pytest.fixture
def begin(start, store_url):
    """Start the service with conversations of its own; the rest are settings."""

    def started(url, **settings):
        return start(url=url, is_served=True, conversations="own", store_url=store_url, **settings)

    return started


class TestLongThreads:
    """The upstream refuses more than six items."""

    @pytest.fixture(params=[{}, {"kind": "responses"}], ids=["nothing", "responses"])
    async def short(self, request):
        async with embedded_upstream(**(NOTHING | {"context_items": 6} | request.param)) as url:
            yield url

    async def test_the_oldest_turns_are_left_out_and_that_is_told(self, begin, short, store_url):
        async with begin(short) as service:
            client = service.client
            first = await chat(client, "turn 0")
            for number in range(1, 6):
                response = await client.post(
                    "chat", json={"message": f"turn {number}", "thread_id": first["thread_id"]}
                )
                assert response.status_code == 200, response.text
            # Of ten older items, those that leave room for the question are shown.
            assert int(response.headers["x-dropped-items"]) >= 4
            metrics = (await client.get(str(client.base_url).replace("/api/v1/", "/metrics"))).text
            assert "soloist_dropped_items_total" in metrics
            page = (await client.get(f"threads/{first['thread_id']}/messages?limit=100")).json()
            assert len(page["data"]) == 12
        assert rows_of(store_url, "SELECT count(*) FROM items") == [(12,)]
        assert rows_of(store_url, "SELECT replayed_from > 0 FROM conversations")[0][0]

    async def test_a_stream_tells_it_too(self, begin, short):
        async with begin(short) as service:
            first = await chat(service.client, "turn 0")
            for number in range(1, 5):
                body = {"message": f"turn {number}", "thread_id": first["thread_id"], "stream": True}
                response = await service.client.post("chat", json=body)
                assert frames(response.text)[-1][0] == "done"
            assert int(response.headers["x-dropped-items"]) >= 2

    async def test_one_turn_that_is_too_long_is_refused(self, begin, short):
        async with begin(short) as service:
            thread_id = await new_thread(service.client, *(f"message {number}" for number in range(8)))
            response = await service.client.post("chat", json={"message": "x", "thread_id": thread_id})
            assert error_of(response, 400)["code"] == "context_length_exceeded"

    async def test_fail_leaves_nothing_out(self, begin, short):
        async with begin(short, assistant_context="fail") as service:
            thread_id = await new_thread(service.client, *(f"message {number}" for number in range(8)))
            for _ in range(2):
                response = await service.client.post("chat", json={"message": "x", "thread_id": thread_id})
                assert error_of(response, 400)["code"] == "context_length_exceeded"

    async def test_a_known_window_is_kept_to_without_a_refusal(self, begin, store_url):
        async with embedded_upstream(**NOTHING) as url, begin(url, assistant_context_tokens=512) as service:
            first = await chat(service.client, "a" * 300)
            for _ in range(3):
                response = await service.client.post(
                    "chat", json={"message": "a" * 300, "thread_id": first["thread_id"]}
                )
            assert int(response.headers["x-dropped-items"]) >= 2
            assert "context_length" not in str(rows_of(store_url, "SELECT body FROM responses"))


class TestReasoning:
    async def test_it_goes_back_to_the_same_model_only(self, begin, store_url):
        async with embedded_upstream(**NOTHING, seed=1) as url, embedded_upstream(**NOTHING, seed=2) as other:
            async with begin(url, assistant_reasoning_effort="low") as service:
                first = await chat(service.client, "think: hard")
                assert (await chat(service.client, "more", thread_id=first["thread_id"]))["message"]
            kinds = rows_of(store_url, "SELECT body FROM items ORDER BY position")
            assert sum('"reasoning"' in body for (body,) in kinds) == 1
            async with begin(other, assistant_reasoning_effort="low") as service:
                assert (await chat(service.client, "on", thread_id=first["thread_id"]))["message"]

    async def test_damaged_reasoning_is_left_out(self, begin, store_url):
        async with (
            embedded_upstream(**NOTHING) as url,
            begin(url, assistant_reasoning_effort="low") as service,
        ):
            first = await chat(service.client, "think: hard")
            _damage(store_url)
            assert (await chat(service.client, "more", thread_id=first["thread_id"]))["message"]


def _damage(store_url):
    """Change the sealed reasoning in the store, as another deployment's would be."""
    from sqlalchemy import create_engine, make_url, text

    url = make_url(store_url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    change = 'UPDATE items SET body = replace(body, \'"encrypted_content":"\', \'"encrypted_content":"x\')'
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()


class TestCalls:
    async def test_a_call_without_an_answer_is_answered_in_its_place(self, begin):
        async with embedded_upstream(**NOTHING) as url, begin(url, assistant_tools=[WEATHER]) as service:
            run = await waiting_run(service.client)
            response = await service.client.post(
                "chat", json={"message": "next", "thread_id": run["thread_id"]}
            )
            assert response.json()["message"] == "You said: next"
            assert response.headers["x-unanswered-tool-calls"].startswith("call_")
            path = f"threads/{run['thread_id']}/runs/{run['id']}"
            assert (await service.client.get(path)).json()["status"] == "expired"

    async def test_outputs_end_the_run(self, begin):
        async with embedded_upstream(**NOTHING) as url, begin(url, assistant_tools=[WEATHER]) as service:
            run = await waiting_run(service.client)
            answered = await submit(service.client, run, outputs_for(run))
            assert answered.status_code == 200, answered.text
            await run_to(service.client, answered.json(), "completed")


class TestWriters:
    async def test_a_second_writer_waits(self, begin):
        async with embedded_upstream(**NOTHING, token_ms=5) as url, begin(url) as service:
            thread_id = await new_thread(service.client)
            both = await asyncio.gather(
                *(chat(service.client, f"message {n}", thread_id=thread_id) for n in range(2))
            )
            assert sorted(answer["message"] for answer in both) == [
                "You said: message 0",
                "You said: message 1",
            ]
            page = (await service.client.get(f"threads/{thread_id}/messages?order=asc")).json()
            texts = [message["content"][0]["text"]["value"] for message in page["data"]]
            assert texts[1] == f"You said: {texts[0]}"
            assert texts[3] == f"You said: {texts[2]}"

    async def test_the_wait_is_bounded(self, begin):
        async with (
            embedded_upstream(**NOTHING, first_token_ms=60_000) as url,
            begin(url, lock_wait_seconds=0.2) as service,
        ):
            run = await new_run(service.client, await new_thread(service.client, "hi"))
            body = {"message": "x", "thread_id": run["thread_id"]}
            response = await service.client.post("chat", json=body)
            error = error_of(response, 409)
            assert error["code"] == "conversation_locked" or "busy" in error["message"]
            message = {"role": "user", "content": "x"}
            added = await service.client.post(f"threads/{run['thread_id']}/messages", json=message)
            error_of(added, 400)
            cancelled = await service.client.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel")
            assert cancelled.status_code == 200, cancelled.text
            await run_to(service.client, run, "cancelled")
            await until(lambda: is_idle(url))

    async def test_a_chat_whose_client_left_keeps_its_question(self, begin):
        async with embedded_upstream(**NOTHING, token_ms=20) as url, begin(url) as service:
            thread_id = await new_thread(service.client)
            body = {"message": "slow: tell", "thread_id": thread_id, "stream": True}
            async with service.client.stream("POST", "chat", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("event: delta"):
                        break
            assert (await chat(service.client, "next", thread_id=thread_id))["message"] == "You said: next"
            page = (await service.client.get(f"threads/{thread_id}/messages?order=asc")).json()
            assert [message["role"] for message in page["data"]] == ["user", "assistant", "user", "assistant"]
            assert page["data"][1]["status"] == "incomplete"


async def test_a_deleted_thread_leaves_nothing(begin, store_url):
    async with embedded_upstream(**NOTHING) as url, begin(url) as service:
        run = await finished_run(service.client, "secret")
        assert (await service.client.delete(f"threads/{run['thread_id']}")).json()["deleted"] is True
    for table in ("conversations", "items", "responses", "leases"):
        assert rows_of(store_url, f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - literal names


async def test_responses_that_the_upstream_stores_are_deleted_there_too(begin):
    async with embedded_upstream(kind="responses") as url, begin(url) as service:
        # After the first turn it is known that this upstream stores them.
        thread_id = (await chat(service.client, "one"))["thread_id"]
        await chat(service.client, "two", thread_id=thread_id)
        await service.client.delete(f"threads/{thread_id}")

        async def is_gone():
            return "DELETE /v1/responses/{id}" in (await stats(url))["requests"]

        await until(is_gone)


async def test_the_secrets_of_tools_are_not_kept(begin, store_url):
    tool = {
        "type": "mcp",
        "server_label": "notes",
        "server_url": "https://example.com/mcp",
        "authorization": "sesame",
        "headers": {"x-token": "sesame"},
        "require_approval": "never",
    }
    async with (
        embedded_upstream(kind="nothing", unsupported="ignore") as url,
        begin(url, assistant_tools=[tool]) as service,
    ):
        run = await finished_run(service.client, "hi")
        assert "sesame" not in str(run)
    assert "sesame" not in str(rows_of(store_url, "SELECT body FROM responses"))


async def test_a_hostile_count_of_dropped_items_is_no_header(start):
    async def handle(request, connection):
        path = request.path.removeprefix("/v1")
        if path == "/conversations":
            await connection.answer(
                200, {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
            )
            return
        response = {"id": "resp_1", "status": "completed", "output": [], "dropped_items": "1\r\nx-evil: 1"}
        await connection.answer(200, response)

    async with fake_upstream(handle) as upstream, start(url=upstream.url, is_served=True) as service:
        response = await service.client.post("chat", json={"message": "hi"})
        assert response.status_code == 200, response.text
        assert "x-dropped-items" not in response.headers
