"""Who sees which threads, services without a list, replicas, and a store that comes late or goes away."""

import asyncio

import pytest

from tests.security.support import GUARDED, KEY_A, KEY_B, bearer, mint, new_thread_of
from tests.store.support import chat, listed, titles
from tests.support import embedded_upstream, error_of, new_thread, until


class TestCallers:
    async def test_each_sees_only_its_own(self, begin):
        async with begin(**GUARDED) as service:
            client = service.client
            callers = {
                "key a": bearer(KEY_A),
                "key b": bearer(KEY_B),
                "u1 of a": bearer(KEY_A, x_user_id="u1"),
                "u1 of b": bearer(KEY_B, x_user_id="u1"),
                "u2 of a": bearer(await mint(client, "u2")),
            }
            made = {name: await new_thread_of(service, headers) for name, headers in callers.items()}
            callers["session of u1"] = bearer(await mint(client, "u1"))
            made["session of u1"] = made["u1 of a"]
            for name, headers in callers.items():
                assert [thread["id"] for thread in (await listed(client, headers))["data"]] == [made[name]]
            error = error_of(
                await client.get("threads", params={"after": made["key b"]}, headers=callers["key a"]), 400
            )
            assert error["code"] == "invalid_cursor"

    async def test_a_bound_session_sees_its_thread(self, begin):
        async with begin(**GUARDED) as service:
            owner = bearer(KEY_A, x_user_id="u1")
            thread_id = await new_thread_of(service, owner)
            await new_thread_of(service, owner)
            bound = bearer(await mint(service.client, "u1", thread_id=thread_id))
            assert [thread["id"] for thread in (await listed(service.client, bound))["data"]] == [thread_id]

    async def test_the_user_of_a_body_is_the_owner(self, begin):
        async with begin(**GUARDED) as service:
            body = {"message": "one", "user": "u1"}
            assert (await service.client.post("chat", json=body, headers=bearer(KEY_A))).status_code == 200
            assert await titles(service.client, bearer(KEY_A, x_user_id="u1")) == ["one"]
            assert await titles(service.client, bearer(KEY_A)) == []

    async def test_strangers_of_an_open_service_see_nothing(self, begin):
        async with begin(host="0.0.0.0", allow_anonymous=True) as service:
            await chat(service.client, "one")
            error = error_of(await service.client.get("threads"), 403)
            assert error["code"] == "callers_not_told_apart"


class TestWithoutAStore:
    async def test_it_says_what_to_set(self, start):
        async with start() as service:
            error = error_of(await service.client.get("threads"), 501)
            assert error["code"] == "store_not_configured"
            assert "STORE_URL" in error["message"]
            thread_id = await new_thread(service.client)
            error_of(await service.client.post(f"threads/{thread_id}", json={"title": "x"}), 501)

    async def test_nor_where_the_upstream_turns_out_to_keep_conversations(self, start, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        async with start(conversations="auto") as service:
            await chat(service.client, "one")
            error_of(await service.client.get("threads"), 501)
            assert not (tmp_path / "data").exists()

    async def test_own_conversations_need_no_setting(self, start, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        async with start(conversations="auto", knobs={"kind": "nothing"}) as service:
            await chat(service.client, "one")
            assert await titles(service.client) == ["one"]


@pytest.mark.needs_postgres
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
class TestReplicas:
    async def test_an_entry_is_there_when_the_answer_is(self, begin):
        async with begin() as one, begin() as two:
            for number in range(5):
                thread_id = await new_thread(one.client, str(number))
                assert (await listed(two.client))["first_id"] == thread_id

    async def test_activity_on_another_replica_moves_a_thread(self, begin):
        async with begin() as one, begin() as two:
            first = (await chat(one.client, "one"))["thread_id"]
            await chat(one.client, "two")
            await chat(two.client, "again", thread_id=first)
            assert await titles(two.client) == ["one", "two"]
            await until(lambda: is_listed(one.client, ["one", "two"]))

    async def test_many_at_once(self, begin):
        async with begin() as one, begin() as two:
            made = await asyncio.gather(
                *(chat(client, str(number)) for number in range(10) for client in (one.client, two.client))
            )
            found = (await listed(one.client, limit=100))["data"]
            assert {thread["id"] for thread in found} == {answer["thread_id"] for answer in made}


async def is_listed(client, wanted):
    return sorted(map(str, await titles(client))) == sorted(wanted)


async def test_threads_from_before_the_store_come_with_their_next_turn(start, tmp_path):
    async with embedded_upstream() as url:
        async with start(url=url) as service:
            thread_id = (await chat(service.client, "old"))["thread_id"]
            unused = (await chat(service.client, "older"))["thread_id"]
        async with start(url=url, store_url=f"sqlite:///{tmp_path / 'soloist.db'}") as service:
            assert await titles(service.client) == []
            await chat(service.client, "new", thread_id=thread_id)
            assert await titles(service.client) == ["new"]
            assert (await service.client.post(f"threads/{unused}", json={"title": "x"})).status_code == 200
            assert set(await titles(service.client)) == {"new", "x"}


async def test_a_thread_that_was_deleted_elsewhere_can_be_removed(start, upstream, tmp_path):
    store = {"store_url": f"sqlite:///{tmp_path / 'soloist.db'}"}
    async with start(url=upstream, **store) as listing, start(url=upstream) as other:
        thread_id = (await chat(listing.client, "one"))["thread_id"]
        assert (await other.client.delete(f"threads/{thread_id}")).status_code == 200
        assert await titles(listing.client) == ["one"]
        error_of(await listing.client.delete(f"threads/{thread_id}"), 404)
        assert await titles(listing.client) == []


@pytest.mark.needs_postgres
async def test_a_store_that_is_away_fails_no_chat(start, upstream, postgres, postgres_url, tmp_path):
    """Where the upstream keeps the conversations; the entries come with the next turns."""
    log = tmp_path / "log"
    async with start(url=upstream, store_url=postgres_url, log_file=str(log)) as service:
        client = service.client
        before = (await chat(client, "before"))["thread_id"]
        await postgres.stop()
        during = (await chat(client, "during"))["thread_id"]
        await chat(client, "also", thread_id=before)
        assert (await client.get(f"threads/{during}")).status_code == 200
        await postgres.start()
        await chat(client, "after", thread_id=during)
        await until(lambda: is_listed(client, ["during", "before"]))
        assert log.read_text().count('"store_away"') == 1
