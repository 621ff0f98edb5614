"""The directory of threads, over upstreams with and without conversations, on both engines."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.dialects import DIALECTS, request_of
from tests.security.support import GUARDED, KEY_A, KEY_B, bearer, mint, new_thread_of
from tests.store.support import change, chat, listed, titles
from tests.support import embedded_upstream, error_of, new_run, new_thread, run_to, until

KEPT_BY = ["upstream", "own"]


@pytest.fixture(params=KEPT_BY)
async def keeper(request):
    """Who keeps the conversations, and the upstream's URL."""
    kind = {} if request.param == "upstream" else {"kind": "nothing"}
    async with embedded_upstream(**kind) as url:
        yield request.param, url


@pytest.fixture
def begin(start, keeper, store_url):
    """Start the service with a store; the rest are settings."""

    @asynccontextmanager
    async def begun(**settings):
        kept_by, url = keeper
        defaults = {"url": url, "is_served": True, "conversations": kept_by, "store_url": store_url}
        async with start(**(defaults | settings)) as service:
            yield service

    return begun


@pytest.fixture
async def live(begin):
    async with begin() as service:
        yield service.client


class TestEntries:
    async def test_an_entry_tells_all_of_a_thread(self, live):
        question = {"role": "user", "content": "What is\n a thread?"}
        body = {"messages": [question], "metadata": {"k": "v"}}
        made = (await live.post("threads", json=body)).json()
        page = await listed(live)
        assert page == {
            "object": "list",
            "data": [
                {
                    "id": made["id"],
                    "object": "thread",
                    "created_at": made["created_at"],
                    "updated_at": page["data"][0]["updated_at"],
                    "title": "What is a thread?",
                    "metadata": {"k": "v"},
                }
            ],
            "first_id": made["id"],
            "last_id": made["id"],
            "has_more": False,
        }
        assert page["data"][0]["updated_at"] >= made["created_at"]

    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_every_dialect_makes_one(self, live, dialect):
        path, body = request_of(dialect, "one two")
        assert (await live.post(path, json=body)).status_code == 200
        assert await titles(live) == ["one two"]

    async def test_a_json_chat_a_run_and_an_import_make_one(self, live):
        await chat(live, "first")
        message = {"role": "user", "content": "second"}
        run = {"assistant_id": "asst_soloist", "thread": {"messages": [message]}}
        assert (await live.post("threads/runs", json=run)).status_code == 200
        imported = {"data": [{"role": "user", "content": "third"}]}
        assert (await live.post("threads/import", json=imported)).status_code == 200
        assert await titles(live) == ["third", "second", "first"]

    async def test_a_thread_without_a_question_gets_its_title_later(self, live):
        thread_id = await new_thread(live)
        assert await titles(live) == [None]
        await chat(live, "a question", thread_id=thread_id)
        await chat(live, "another", thread_id=thread_id)
        assert await titles(live) == ["a question"]

    async def test_a_history_names_its_first_question(self, live):
        texts = [("user", "one"), ("assistant", "1"), ("user", "two")]
        messages = [{"role": role, "content": text} for role, text in texts]
        assert (await live.post("chat", json={"messages": messages})).status_code == 200
        assert await titles(live) == ["one"]

    async def test_activity_moves_a_thread_to_the_top(self, live):
        first, second, third = [(await chat(live, text))["thread_id"] for text in ("one", "two", "three")]
        await chat(live, "again", thread_id=first)
        assert await titles(live) == ["one", "three", "two"]
        await live.post(f"threads/{second}/messages", json={"role": "user", "content": "more"})
        assert await titles(live) == ["two", "one", "three"]
        await run_to(live, await new_run(live, third), "completed")
        assert await titles(live) == ["three", "two", "one"]
        assert await titles(live, order="asc") == ["one", "two", "three"]

    async def test_reading_is_no_activity(self, live):
        first = (await chat(live, "one"))["thread_id"]
        await chat(live, "two")
        for path in (f"threads/{first}", f"threads/{first}/messages", f"threads/{first}/export"):
            assert (await live.get(path)).status_code == 200
        await live.post(f"threads/{first}", json={"metadata": {"k": "w"}})
        page = await listed(live)
        assert [(thread["title"], thread["metadata"]) for thread in page["data"]] == [
            ("two", {}),
            ("one", {"k": "w"}),
        ]

    async def test_an_unknown_thread_makes_none(self, live):
        known = (await chat(live, "one"))["thread_id"]
        unknown = known[:-4] + "0000"
        for stream in (False, True):
            body = {"message": "x", "thread_id": unknown, "stream": stream}
            error_of(await live.post("chat", json=body), 404)
        assert [thread["id"] for thread in (await listed(live))["data"]] == [known]

    async def test_a_deleted_thread_is_not_listed(self, live):
        thread_id = (await chat(live, "one"))["thread_id"]
        await chat(live, "two")
        await live.delete(f"threads/{thread_id}")
        assert await titles(live) == ["two"]


class TestTitles:
    async def test_it_can_be_set(self, live):
        thread_id = (await chat(live, "one"))["thread_id"]
        await chat(live, "two")
        answer = await live.post(f"threads/{thread_id}", json={"title": "A better\ntitle"})
        assert answer.json() == (await live.get(f"threads/{thread_id}")).json()
        await chat(live, "again", thread_id=thread_id)
        assert await titles(live) == ["A better title", "two"]

    async def test_it_is_no_activity(self, live):
        thread_id = (await chat(live, "one"))["thread_id"]
        await chat(live, "two")
        await live.post(f"threads/{thread_id}", json={"title": "1", "metadata": {"k": "v"}})
        assert await titles(live) == ["two", "1"]

    @pytest.mark.parametrize("title", ["", "  ", "x" * 201, 7])
    async def test_a_bad_one_is_refused(self, live, title):
        thread_id = await new_thread(live)
        error = error_of(await live.post(f"threads/{thread_id}", json={"title": title}), 400)
        assert error["param"] == "title"

    async def test_of_an_unknown_thread(self, live):
        thread_id = await new_thread(live)
        error_of(await live.post(f"threads/{thread_id[:-4]}0000", json={"title": "x"}), 404)
        assert len((await listed(live))["data"]) == 1


class TestPages:
    async def test_ties_are_all_listed_once(self, live, store_url):
        made = {await new_thread(live, str(number)) for number in range(7)}
        await change(store_url, "UPDATE threads SET active_at = 1790000000000000")
        for order in ("desc", "asc"):
            whole = [thread["id"] for thread in (await listed(live, order=order))["data"]]
            assert set(whole) == made
            found: list[str] = []
            query: dict[str, Any] = {}
            while page := await listed(live, limit=3, order=order, **query):
                found += [thread["id"] for thread in page["data"]]
                query["after"] = page["last_id"]
                if not page["has_more"]:
                    break
            assert found == whole

    async def test_before_pages_back(self, live):
        for number in range(5):
            await new_thread(live, str(number))
        whole = (await listed(live))["data"]
        page = await listed(live, before=whole[4]["id"], limit=2)
        assert ([thread["title"] for thread in page["data"]], page["has_more"]) == (["2", "1"], True)
        page = await listed(live, after=whole[0]["id"], before=whole[3]["id"])
        assert ([thread["title"] for thread in page["data"]], page["has_more"]) == (["3", "2"], False)
        page = await listed(live, before=whole[2]["id"], order="asc", limit=1)
        assert ([thread["title"] for thread in page["data"]], page["has_more"]) == (["1"], True)

    @pytest.mark.parametrize("name", ["after", "before"])
    async def test_a_cursor_that_is_gone(self, live, name):
        thread_id = await new_thread(live)
        assert (await live.delete(f"threads/{thread_id}")).status_code == 200
        for cursor in (thread_id, "thread_no thread", "x"):
            error = error_of(await live.get("threads", params={name: cursor}), 400)
            assert (error["param"], error["code"]) == (name, "invalid_cursor")

    async def test_an_empty_list(self, live):
        assert await listed(live) == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }


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
    return await titles(client) == wanted


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
