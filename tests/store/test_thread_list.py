"""The directory of threads, over upstreams with and without conversations, on both engines."""

from typing import Any

import pytest

from tests.dialects import DIALECTS, request_of
from tests.store.support import change, chat, listed, titles
from tests.support import error_of, new_run, new_thread, run_to


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


class TestSearch:
    async def test_titles_are_searched_in_any_case(self, live):
        for text in ("Weather in Busan", "weather 100%", "Trains"):
            await chat(live, text)
        assert await titles(live, query="WEATHER") == ["weather 100%", "Weather in Busan"]
        assert await titles(live, query="100%") == ["weather 100%"]
        assert await titles(live, query="%") == ["weather 100%"]
        assert await titles(live, query="nothing") == []
        assert len(await titles(live, query="")) == 3
        error_of(await live.get("threads", params={"query": "x" * 201}), 400)


async def test_words_that_cannot_be_printed_are_no_words(live):
    await chat(live, "one 🙂 \u200f\u05d0\x00 two")
    assert await titles(live, query="\x00") == await titles(live) == ["one 🙂 \u05d0 two"]
    assert await titles(live, query="🙂\n\u200f\u05d0") == ["one 🙂 \u05d0 two"]
