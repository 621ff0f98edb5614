"""Messages: conversation items under the Assistants contract, with the pages that clients ask for."""

import httpx2
import pytest

from tests.support import error_of, finished_run, new_run, new_thread, run_to

KEYS = {
    "id",
    "object",
    "created_at",
    "thread_id",
    "role",
    "status",
    "content",
    "assistant_id",
    "run_id",
    "attachments",
    "metadata",
    "completed_at",
    "incomplete_at",
    "incomplete_details",
}


def texts(page):
    return [message["content"][0]["text"]["value"] for message in page["data"]]


@pytest.fixture
async def lettered(client):
    """A thread of five messages a to e; its messages path, and their ids, oldest first."""
    path = f"threads/{await new_thread(client, *'abcde')}/messages"
    page = (await client.get(path, params={"order": "asc"})).json()
    return path, [message["id"] for message in page["data"]]


class TestCreate:
    async def test_a_user_message_as_it_is_stored(self, client):
        thread_id = await new_thread(client)
        body = {"role": "user", "content": "né 文"}
        created = (await client.post(f"threads/{thread_id}/messages", json=body)).json()
        assert created.keys() == KEYS
        assert created["content"] == [{"type": "text", "text": {"value": "né 文", "annotations": []}}]
        assert (created["role"], created["status"], created["run_id"]) == ("user", "completed", None)
        assert created["thread_id"] == thread_id
        read = (await client.get(f"threads/{thread_id}/messages/{created['id']}")).json()
        assert read == created

    async def test_metadata_that_cannot_be_kept_is_named(self, client):
        thread_id = await new_thread(client)
        body = {"role": "user", "content": "hi", "metadata": {"a": "b"}}
        response = await client.post(f"threads/{thread_id}/messages", json=body)
        assert response.headers["x-ignored-params"] == "metadata"
        assert response.json()["metadata"] == {}

    async def test_a_busy_thread_is_waited_for(self, client):
        thread_id = await new_thread(client, "sleep:200 x")
        run = await new_run(client, thread_id)
        body = {"role": "user", "content": "later"}
        assert (await client.post(f"threads/{thread_id}/messages", json=body)).status_code == 200
        await run_to(client, run, "completed")
        page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
        assert texts(page) == ["sleep:200 x", "You said: 200 x", "later"]


class TestPages:
    async def test_the_newest_come_first(self, client, lettered):
        path, ids = lettered
        page = (await client.get(path)).json()
        assert page.keys() == {"object", "data", "first_id", "last_id", "has_more"}
        assert texts(page) == list("edcba")
        assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[4], ids[0], False)

    @pytest.mark.parametrize(
        ("order", "query", "expected", "has_more"),
        [
            ("asc", {"limit": 2}, "ab", True),
            ("asc", {"limit": 5}, "abcde", False),
            ("asc", {"after": 1}, "cde", False),
            ("asc", {"after": 1, "limit": 2}, "cd", True),
            ("asc", {"after": 4}, "", False),
            ("asc", {"before": 3}, "abc", False),
            ("asc", {"before": 3, "limit": 2}, "bc", True),
            ("asc", {"before": 0}, "", False),
            ("asc", {"after": 0, "before": 4}, "bcd", False),
            ("asc", {"after": 0, "before": 4, "limit": 2}, "bc", True),
            ("desc", {"limit": 2}, "ed", True),
            ("desc", {"after": 3}, "cba", False),
            ("desc", {"after": 3, "limit": 1}, "c", True),
            ("desc", {"before": 1}, "edc", False),
            ("desc", {"before": 1, "limit": 2}, "dc", True),
            ("desc", {"after": 4, "before": 0}, "dcb", False),
        ],
    )
    async def test_windows(self, client, lettered, order, query, expected, has_more):
        path, ids = lettered
        cursors = {name: ids[query[name]] for name in ("after", "before") if name in query}
        page = (await client.get(path, params={"order": order, **query, **cursors})).json()
        assert "".join(texts(page)) == expected
        assert page["has_more"] is has_more

    @pytest.mark.parametrize("order", ["asc", "desc"])
    async def test_walking_the_pages_meets_every_message_once(self, client, order):
        path = f"threads/{await new_thread(client, *(str(n) for n in range(23)))}/messages"
        found, after = [], None
        while True:
            query = {"order": order, "limit": 5} | ({"after": after} if after else {})
            page = (await client.get(path, params=query)).json()
            found += texts(page)
            if not page["has_more"]:
                break
            after = page["last_id"]
        expected = [str(n) for n in range(23)]
        assert found == (expected if order == "asc" else expected[::-1])

    async def test_an_empty_thread_has_an_empty_page(self, client):
        page = (await client.get(f"threads/{await new_thread(client)}/messages")).json()
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}

    async def test_tool_calls_between_messages_are_no_messages_and_fill_no_page(self, client):
        run = await finished_run(client, "use the tool", "requires_action")
        call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
        path = f"threads/{run['thread_id']}"
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}]}
        after = (await client.post(f"{path}/runs/{run['id']}/submit_tool_outputs", json=outputs)).json()
        await run_to(client, after, "completed")
        page = (await client.get(f"{path}/messages", params={"limit": 2})).json()
        assert texts(page) == ["The tool answered: sunny", "use the tool"]
        assert page["has_more"] is False


class TestRuns:
    async def test_an_answer_names_its_run_and_can_be_asked_by_it(self, client):
        first = await finished_run(client, "one")
        path = f"threads/{first['thread_id']}"
        await client.post(f"{path}/messages", json={"role": "user", "content": "two"})
        second = await run_to(client, await new_run(client, first["thread_id"]), "completed")
        page = (await client.get(f"{path}/messages", params={"order": "asc"})).json()
        assert texts(page) == ["one", "You said: one", "two", "You said: two"]
        assert [message["run_id"] for message in page["data"]] == [None, first["id"], None, second["id"]]
        for run, text in ((first, "You said: one"), (second, "You said: two")):
            found = (await client.get(f"{path}/messages", params={"run_id": run["id"]})).json()
            assert texts(found) == [text]
            assert found["data"][0]["assistant_id"] == "asst_soloist"

    async def test_times_come_from_the_ids(self, client):
        run = await finished_run(client, "one")
        page = (await client.get(f"threads/{run['thread_id']}/messages")).json()
        answer, question = page["data"]
        assert question["created_at"] <= run["created_at"] <= answer["created_at"]
        assert answer["completed_at"] == answer["created_at"]

    async def test_a_run_id_that_is_none(self, client):
        path = f"threads/{await new_thread(client, 'hi')}/messages"
        assert error_of(await client.get(path, params={"run_id": "x"}), 404)["param"] == "run_id"
        assert (await client.get(path, params={"run_id": "run_0"})).json()["data"] == []


class TestDelete:
    async def test_a_deleted_message_is_gone(self, client, lettered):
        path, ids = lettered
        deleted = (await client.delete(f"{path}/{ids[2]}")).json()
        assert deleted == {"id": ids[2], "object": "thread.message.deleted", "deleted": True}
        assert texts((await client.get(path, params={"order": "asc"})).json()) == list("abde")
        for method in ("GET", "DELETE"):
            assert error_of(await client.request(method, f"{path}/{ids[2]}"), 404)["param"] == "message_id"

    async def test_an_item_that_is_no_message_cannot_be_read_as_one(self, client, upstream):
        run = await finished_run(client, "use the tool", "requires_action")
        steps = (await client.get(f"threads/{run['thread_id']}/runs/{run['id']}/steps")).json()
        call_id = steps["data"][0]["step_details"]["tool_calls"][0]["id"]
        error_of(await client.get(f"threads/{run['thread_id']}/messages/{call_id}"), 404)

    async def test_an_item_that_is_no_message_cannot_be_deleted_as_one(self, client, upstream):
        run = await finished_run(client, "use the tool", "requires_action")
        [call, _] = await items_of(upstream, run["thread_id"])
        assert call["type"] == "function_call"
        error_of(await client.delete(f"threads/{run['thread_id']}/messages/{call['id']}"), 404)
        assert len(await items_of(upstream, run["thread_id"])) == 2


def said(role, text):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def reasoning(number):
    return {"type": "reasoning", "id": f"rs_{number}", "summary": []}


CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
ASKED, ANSWERED = said("user", "question"), said("assistant", "answer")


async def items_of(upstream, thread_id):
    """The upstream's items, newest first."""
    path = f"{upstream}/conversations/conv_{thread_id.removeprefix('thread_')}/items"
    async with httpx2.AsyncClient() as direct:
        return (await direct.get(path, params={"limit": 100})).json()["data"]


class TestDeleteAnswer:
    """Reasoning goes with the answer that it led to: alone, the upstream refuses it in every later turn."""

    @pytest.mark.parametrize(
        ("before", "after", "left"),
        [
            ([ASKED, reasoning(1)], [], ["message"]),
            ([ASKED, reasoning(1), reasoning(2)], [], ["message"]),
            ([ASKED, reasoning(1)], [ASKED], ["message", "message"]),
            (
                [ASKED, reasoning(1)],
                [reasoning(2), said("assistant", "more")],
                ["message", "reasoning", "message"],
            ),
            ([ASKED, reasoning(1)], [said("assistant", "more")], ["message", "reasoning", "message"]),
            (
                [ASKED, reasoning(1)],
                [CALL, OUTPUT],
                ["message", "reasoning", "function_call", "function_call_output"],
            ),
            ([ASKED, reasoning(1), said("assistant", "more")], [], ["message", "reasoning", "message"]),
        ],
    )
    async def test_the_thread_goes_on(self, client, upstream, before, after, left):
        thread_id = await new_thread(client)
        path = f"{upstream}/conversations/conv_{thread_id.removeprefix('thread_')}/items"
        async with httpx2.AsyncClient() as direct:
            body = {"items": [*before, ANSWERED, *after]}
            assert (await direct.post(path, json=body)).status_code == 200
        page = (await client.get(f"threads/{thread_id}/messages")).json()
        answer = next(m for m in page["data"] if m["content"][0]["text"]["value"] == "answer")
        assert (await client.delete(f"threads/{thread_id}/messages/{answer['id']}")).status_code == 200
        assert [item["type"] for item in reversed(await items_of(upstream, thread_id))] == left
        response = await client.post("chat", json={"message": "hello", "thread_id": thread_id})
        assert response.status_code == 200

    async def test_the_reasoning_before_a_question_stays(self, client, upstream):
        run = await finished_run(client, "hello")
        page = (await client.get(f"threads/{run['thread_id']}/messages")).json()
        await client.delete(f"threads/{run['thread_id']}/messages/{page['last_id']}")
        [left] = await items_of(upstream, run["thread_id"])
        assert left["role"] == "assistant"
