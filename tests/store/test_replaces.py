"""`replaces` on conversations of the upstream and of the service, on both engines."""

import asyncio
import json

import pytest

from tests.store.support import chat, listed, rows_of, titles
from tests.support import embedded_upstream, frames, names, until

ITEMS = "SELECT id, body FROM items ORDER BY position"


def kept(store_url):
    """The items of the store in their order."""
    return [(item_id, json.loads(body)) for item_id, body in rows_of(store_url, ITEMS)]


async def contents(client, thread_id):
    """Roles, texts and ids of a thread's messages, and its calls."""
    export = (await client.get(f"threads/{thread_id}/export")).json()
    said = [(m["id"], m["role"], m["content"][0]["text"]["value"]) for m in export["data"]]
    return said, export["tool_calls"]


async def spoken(client, thread_id):
    return [(role, text) for _, role, text in (await contents(client, thread_id))[0]]


@pytest.fixture
async def live(begin):
    async with begin() as service:
        yield service.client


@pytest.fixture
def own(start, store_url):
    """Start the service with conversations of its own; the rest are settings."""

    def started(url, **settings):
        defaults = {"is_served": True, "conversations": "own", "store_url": store_url}
        return start(url=url, **(defaults | settings))

    return started


async def with_tools(client):
    """A thread with a plain turn, one with reasoning and a call, and a plain one; the answers."""
    first = await chat(client, "one")
    waiting = await chat(client, "think: with a tool", thread_id=first["thread_id"])
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in waiting["tool_calls"]]
    body = {"thread_id": first["thread_id"], "run_id": waiting["run_id"], "tool_outputs": outputs}
    second = (await client.post("chat", json=body)).json()
    return [first, second, await chat(client, "three", thread_id=first["thread_id"])]


class TestBothKeepers:
    async def test_regenerate_and_edit(self, live):
        first, second, third = await with_tools(live)
        thread_id = first["thread_id"]
        body = {"thread_id": thread_id, "replaces": third["message_id"]}
        again = (await live.post("chat", json=body)).json()
        assert again["message"] == "You said: three"
        await chat(live, "edited", thread_id=thread_id, replaces=second["message_id"])
        said, calls = await contents(live, thread_id)
        assert [(role, text) for _, role, text in said] == [
            ("user", "one"),
            ("assistant", "You said: one"),
            ("user", "edited"),
            ("assistant", "You said: edited"),
        ]
        assert calls == []
        assert (await chat(live, "next", thread_id=thread_id))["message"] == "You said: next"

    @pytest.mark.parametrize("is_stream", [False, True])
    @pytest.mark.parametrize("prompt", ["fail:server_error", "fail-late:server_error"])
    async def test_a_failed_run_leaves_all_as_it_was(self, live, prompt, is_stream):
        first, second, _ = await with_tools(live)
        thread_id = first["thread_id"]
        before = await contents(live, thread_id)
        body = {
            "message": prompt,
            "thread_id": thread_id,
            "replaces": second["message_id"],
            "stream": is_stream,
        }
        failed = await live.post("chat", json=body)
        assert names(frames(failed.text))[-1] == "error" if is_stream else failed.status_code == 502
        assert await contents(live, thread_id) == before
        assert (await chat(live, "next", thread_id=thread_id))["message"] == "You said: next"

    async def test_an_edited_first_question_gives_a_new_title_but_not_over_a_chosen_one(self, live):
        first = await chat(live, "one")
        thread_id = first["thread_id"]
        second = await chat(live, "two", thread_id=thread_id)
        await chat(live, "later", thread_id=thread_id, replaces=second["message_id"])
        assert await titles(live) == ["one"]
        failed = {"message": "fail:server_error", "thread_id": thread_id, "replaces": first["message_id"]}
        assert (await live.post("chat", json=failed)).status_code == 502
        assert await titles(live) == ["one"]
        anew = await chat(live, "anew", thread_id=thread_id, replaces=first["message_id"])
        assert await titles(live) == ["anew"]
        await live.post(f"threads/{thread_id}", json={"title": "Mine"})
        await chat(live, "again", thread_id=thread_id, replaces=anew["message_id"])
        assert await titles(live) == ["Mine"]

    async def test_replacing_is_activity(self, live):
        older, newer = await chat(live, "older"), await chat(live, "newer")
        body = {"thread_id": older["thread_id"], "replaces": older["message_id"]}
        assert (await live.post("chat", json=body)).status_code == 200
        found = [thread["id"] for thread in (await listed(live))["data"]]
        assert found == [older["thread_id"], newer["thread_id"]]

    async def test_feedback_on_a_replaced_answer_is_kept(self, live):
        answer = await chat(live, "one")
        rating = {"thread_id": answer["thread_id"], "message_id": answer["message_id"], "value": "down"}
        assert (await live.post("feedback", json=rating)).status_code == 200
        again = await chat(live, "anew", thread_id=answer["thread_id"], replaces=answer["message_id"])
        found = (await live.get(f"threads/{answer['thread_id']}/export")).json()["feedback"]
        assert [each["message_id"] for each in found] == [answer["message_id"]]
        assert again["message_id"] != answer["message_id"]

    async def test_a_busy_thread_is_left_alone(self, begin):
        async with begin(lock_wait_seconds=0.2) as service:
            client = service.client
            answer = await chat(client, "one")
            thread_id = answer["thread_id"]
            busy = {"thread_id": thread_id, "message": "slow:100", "stream": True}
            async with client.stream("POST", "chat", json=busy) as response:
                # Held: the stream would be closed with its iterator.
                pieces = response.aiter_text()
                await anext(pieces)
                body = {"thread_id": thread_id, "replaces": answer["message_id"], "message": "no"}
                refused = await client.post("chat", json=body)
                assert (refused.status_code, refused.json()["error"]["code"]) == (409, "thread_busy")
                assert await spoken(client, thread_id) == [("user", "one"), ("assistant", "You said: one")]


@pytest.mark.needs_postgres
async def test_of_two_replicas_at_once_one_is_refused(start, keeper, postgres_url):
    kept_by, url = keeper
    settings = {"url": url, "is_served": True, "conversations": kept_by, "store_url": postgres_url}
    async with start(**settings) as one, start(**settings, lock_wait_seconds=0.2) as other:
        answer = await chat(one.client, "one")
        thread_id = answer["thread_id"]
        body = {"thread_id": thread_id, "replaces": answer["message_id"], "message": "slow:30"}
        found = await asyncio.gather(*(each.client.post("chat", json=body) for each in (one, other)))
        assert sorted(each.status_code for each in found) == [200, 409]
        assert [role for role, _ in await spoken(one.client, thread_id)] == ["user", "assistant"]


class TestOwnItems:
    """The rows themselves."""

    @pytest.fixture(params=["nothing", "responses"])
    async def url(self, request):
        async with embedded_upstream(kind=request.param) as url:
            yield url

    @pytest.mark.parametrize("mode", [{}, {"stream": True}, {"on_disconnect": "detach"}])
    async def test_a_failure_leaves_every_item_in_its_place(self, own, url, store_url, mode):
        async with own(url) as service:
            _, second, third = await with_tools(service.client)
            before = kept(store_url)
            assert len(before) == 10
            body = {"message": "fail-late:server_error", "replaces": second["message_id"], **mode}
            await service.client.post("chat", json=body | {"thread_id": third["thread_id"]})
            assert kept(store_url) == before

    async def test_leaving_before_anything_was_said_leaves_every_item(self, own, url, store_url):
        async with own(url) as service:
            _, second, third = await with_tools(service.client)
            before = kept(store_url)
            body = {"message": "sleep:60000 late", "replaces": second["message_id"]}
            asking = asyncio.create_task(
                service.client.post("chat", json=body | {"thread_id": third["thread_id"]})
            )
            await until(lambda: len(kept(store_url)) == 2)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: kept(store_url) == before)

    async def test_a_long_thread_is_shown_from_its_beginning_again(self, own, store_url):
        """The upstream refuses more than six items, so the model is no longer shown the oldest turns."""
        async with embedded_upstream(kind="nothing", context_items=6) as url, own(url) as service:
            first = await chat(service.client, "turn 0")
            thread_id = first["thread_id"]
            early = await chat(service.client, "turn 1", thread_id=thread_id)
            for number in range(2, 6):
                await chat(service.client, f"turn {number}", thread_id=thread_id)
            assert rows_of(store_url, "SELECT replayed_from > 2 FROM conversations")[0][0]
            await chat(service.client, "anew", thread_id=thread_id, replaces=early["message_id"])
            body = {"message": "next", "thread_id": thread_id}
            answer = await service.client.post("chat", json=body)
            assert answer.status_code == 200
            assert "x-dropped-items" not in answer.headers
            said = await spoken(service.client, thread_id)
            assert [text for role, text in said if role == "user"] == ["turn 0", "anew", "next"]

    async def test_a_restart_of_the_upstream_in_between(self, own, store_url):
        async with embedded_upstream(kind="nothing") as url, own(url) as service:
            first, second, _ = await with_tools(service.client)
        before = kept(store_url)
        async with embedded_upstream(kind="nothing", fault="500", fault_rate=1) as url, own(url) as service:
            body = {"thread_id": first["thread_id"], "replaces": second["message_id"]}
            assert (await service.client.post("chat", json=body)).status_code == 502
            assert kept(store_url) == before
