"""Feedback: who may rate what, what is kept, and that it goes with its thread and its user."""

import pytest

from tests.security.support import GUARDED, KEY_A, KEY_B, bearer, mint
from tests.store.support import change, chat, rows_of
from tests.support import error_of, finished_run, until

KEY = bearer(KEY_A)
OWNER = bearer(KEY_A, x_user_id="u1")
OTHER = bearer(KEY_A, x_user_id="u2")
COUNT = "SELECT count(*) FROM feedback"
CANARY = "canary-comment"


@pytest.fixture
def begin(begin):
    """Start the service with a store and API keys; the rest are settings."""

    def begun(**settings):
        return begin(**(GUARDED | settings))

    return begun


async def rate(client, headers=OWNER, **body):
    response = await client.post("feedback", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def messages_of(client, thread_id):
    """The ids of a thread's question and answer."""
    found = (await client.get(f"threads/{thread_id}/messages?order=asc", headers=OWNER)).json()["data"]
    return [message["id"] for message in found]


async def exported(client, thread_id):
    return (await client.get(f"threads/{thread_id}/export", headers=OWNER)).json()["feedback"]


async def test_an_answer_has_one_rating_of_its_owner(begin, store_url):
    async with begin() as service:
        client = service.client
        answer = await chat(client, "one", OWNER)
        thread_id, run_id = answer["thread_id"], answer["run_id"]
        _, message_id = await messages_of(client, thread_id)
        first = await rate(client, thread_id=thread_id, run_id=run_id, value="down", comment="No.\0 ")
        assert first == {
            "object": "feedback",
            "thread_id": thread_id,
            "message_id": message_id,
            "run_id": run_id,
            "value": "down",
            "comment": "No.",
            "created_at": first["created_at"],
        }
        second = await rate(client, thread_id=thread_id, message_id=message_id, value="up", comment="")
        assert second == first | {"value": "up", "comment": None, "created_at": second["created_at"]}
        assert await exported(client, thread_id) == [second]
    assert rows_of(store_url, COUNT) == [(1,)]


async def test_each_answer_has_its_own(begin):
    async with begin() as service:
        client = service.client
        thread_id = (await chat(client, "one", OWNER))["thread_id"]
        again = await chat(client, "two", OWNER, thread_id=thread_id)
        _, first, _, second = await messages_of(client, thread_id)
        await rate(client, thread_id=thread_id, message_id=first, value="up")
        await rate(client, thread_id=thread_id, run_id=again["run_id"], value="down")
        told = [(each["message_id"], each["value"]) for each in await exported(client, thread_id)]
        assert sorted(told) == sorted([(first, "up"), (second, "down")])


async def test_an_export_with_feedback_can_be_imported(begin):
    async with begin() as service:
        answer = await chat(service.client, "one", OWNER)
        await rate(service.client, thread_id=answer["thread_id"], run_id=answer["run_id"], value="up")
        export = await service.client.get(f"threads/{answer['thread_id']}/export", headers=OWNER)
        found = await service.client.post("threads/import", json=export.json(), headers=OWNER)
        assert found.json()["imported"] == 2
        assert "x-ignored-params" not in found.headers
        assert await exported(service.client, found.json()["thread"]["id"]) == []


async def test_what_is_foreign_is_not_found(begin):
    async with begin() as service:
        client = service.client
        mine, other = await chat(client, "one", OWNER), await chat(client, "two", OTHER)
        _, message_id = await messages_of(client, mine["thread_id"])
        thread_id, run_id = mine["thread_id"], mine["run_id"]
        wrong = [
            (OTHER, {"thread_id": thread_id, "run_id": run_id}),
            (OTHER, {"thread_id": thread_id, "message_id": message_id}),
            (bearer(KEY_B, x_user_id="u1"), {"thread_id": thread_id, "run_id": run_id}),
            (OWNER, {"thread_id": thread_id, "run_id": other["run_id"]}),
            (OWNER, {"thread_id": other["thread_id"], "run_id": run_id}),
            (OWNER, {"thread_id": thread_id, "message_id": "msg_unknown"}),
            (OWNER, {"thread_id": thread_id, "run_id": "run_unknown"}),
        ]
        for headers, named in wrong:
            error_of(await client.post("feedback", json={**named, "value": "up"}, headers=headers), 404)
        third = await chat(client, "three", OWNER)
        named = {"thread_id": third["thread_id"], "run_id": run_id, "value": "up"}
        error_of(await client.post("feedback", json=named, headers=OWNER), 404)


async def test_a_session_of_a_thread_rates_only_there(begin):
    async with begin() as service:
        client = service.client
        one, two = await chat(client, "one", OWNER), await chat(client, "two", OWNER)
        session = bearer(await mint(client, "u1", thread_id=one["thread_id"]))
        await rate(client, session, thread_id=one["thread_id"], run_id=one["run_id"], value="up")
        body = {"thread_id": two["thread_id"], "run_id": two["run_id"], "value": "up"}
        error_of(await client.post("feedback", json=body, headers=session), 404)
        assert len(await exported(client, one["thread_id"])) == 1


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"value": "sideways"}, "value"),
        ({"value": None}, "value"),
        ({"comment": "x" * 2_001}, "comment"),
        ({"run_id": None}, "run_id"),
        ({"message_id": "msg_1"}, "run_id"),
        ({"thread_id": None}, "thread_id"),
    ],
)
@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_wrong_bodies(begin, changes, param):
    async with begin() as service:
        answer = await chat(service.client, "one", OWNER)
        body = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": "up"} | changes
        error = error_of(await service.client.post("feedback", json=body, headers=OWNER), 400)
        assert error["param"] == param


async def test_a_question_is_not_rated(begin):
    async with begin() as service:
        thread_id = (await chat(service.client, "one", OWNER))["thread_id"]
        question, _ = await messages_of(service.client, thread_id)
        body = {"thread_id": thread_id, "message_id": question, "value": "up"}
        error = error_of(await service.client.post("feedback", json=body, headers=OWNER), 400)
        assert error["param"] == "message_id"


async def test_a_run_that_waits_for_tools_can_be_rated(begin):
    async with begin() as service:
        client = service.client
        client.headers.update(OWNER)
        run = await finished_run(client, "tool:get_weather", "requires_action")
        found = await rate(client, thread_id=run["thread_id"], run_id=run["id"], value="down")
        assert (found["message_id"], found["run_id"]) == (None, run["id"])


async def test_it_goes_with_its_thread_and_its_user(begin, store_url):
    async with begin() as service:
        client = service.client
        for headers in (OWNER, OWNER, OTHER):
            answer = await chat(client, "one", headers)
            named = {"thread_id": answer["thread_id"], "run_id": answer["run_id"]}
            await rate(client, headers, **named, value="down", comment=CANARY)
        assert rows_of(store_url, COUNT) == [(3,)]
        await client.delete(f"threads/{answer['thread_id']}", headers=OTHER)
        assert rows_of(store_url, COUNT) == [(2,)]
        await client.delete("users/u1", headers=KEY)
        assert rows_of(store_url, COUNT) == [(0,)]
        assert rows_of(store_url, "SELECT count(*) FROM usage") == [(3,)]
        of_threads = "SELECT count(*) FROM usage WHERE conversation_id IS NOT NULL"
        assert rows_of(store_url, of_threads) == [(0,)]
        hashed = "SELECT count(*) FROM usage WHERE user_hash IS NOT NULL"
        assert rows_of(store_url, hashed) == [(1,)]


async def test_it_goes_with_a_thread_that_nobody_uses(begin, store_url, monkeypatch):
    monkeypatch.setattr("app.core.services.retention._PAUSE_SECONDS", 0.05)
    async with begin(thread_retention_days=7) as service:
        client = service.client
        answer = await chat(client, "one", OWNER)
        await rate(client, thread_id=answer["thread_id"], run_id=answer["run_id"], value="down")
        await client.get("threads", headers=OWNER)
        assert rows_of(store_url, COUNT) == [(1,)]
        await change(store_url, "UPDATE threads SET active_at = active_at - :age", age=8 * 86_400_000_000)
        await until(lambda: rows_of(store_url, COUNT) == [(0,)])


async def test_it_counts_as_a_write(begin):
    async with begin(rate_limit_writes="2/minute") as service:
        answer = await chat(service.client, "one", OWNER)
        named = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": "up"}
        await rate(service.client, **named)
        await rate(service.client, **named)
        error_of(await service.client.post("feedback", json=named, headers=OWNER), 429)


async def test_without_a_store(start):
    async with start(**GUARDED) as service:
        answer = await chat(service.client, "one", OWNER)
        named = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": "up"}
        error = error_of(await service.client.post("feedback", json=named, headers=OWNER), 501)
        assert error["code"] == "store_not_configured"
        assert "no feedback" in error["message"]
        assert await exported(service.client, answer["thread_id"]) == []
