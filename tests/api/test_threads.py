"""Threads: upstream conversations under the Assistants contract."""

import time

import pytest

from tests.support import (
    ASSISTANT,
    Json,
    error_of,
    finished_run,
    frames,
    is_idle,
    new_run,
    new_thread,
    stats,
)

KEYS = {"id", "object", "created_at", "metadata", "tool_resources"}


class TestCreate:
    async def test_a_body_may_be_absent_or_empty(self, client):
        empty: Json = {"content": b"", "headers": {"content-type": "application/json"}}
        bodies: tuple[Json, ...] = ({}, {"json": {}}, empty)
        for kwargs in bodies:
            thread = (await client.post("threads", **kwargs)).json()
            assert thread.keys() == KEYS
            assert thread["object"] == "thread"
            assert thread["id"].startswith("thread_")
            assert abs(thread["created_at"] - time.time()) < 600
            assert (thread["metadata"], thread["tool_resources"]) == ({}, {})

    async def test_messages_keep_their_order_however_many(self, client):
        texts = [f"message {n}" for n in range(45)]
        thread_id = await new_thread(client, *texts)
        page = (
            await client.get(f"threads/{thread_id}/messages", params={"order": "asc", "limit": 100})
        ).json()
        assert [message["content"][0]["text"]["value"] for message in page["data"]] == texts
        assert page["has_more"] is False

    async def test_both_roles_and_parts_are_kept(self, client):
        image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
        messages = [
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "content": "I see."},
        ]
        thread = (await client.post("threads", json={"messages": messages})).json()
        page = (await client.get(f"threads/{thread['id']}/messages", params={"order": "asc"})).json()
        first, second = page["data"]
        assert first["content"] == [
            {"type": "text", "text": {"value": "look", "annotations": []}},
            image,
        ]
        assert (second["role"], second["content"][0]["text"]["value"]) == ("assistant", "I see.")
        assert (first["assistant_id"], second["assistant_id"]) == (None, "asst_soloist")


class TestMetadata:
    async def test_it_is_kept_and_replaced(self, client):
        thread = (await client.post("threads", json={"metadata": {"a": "1", "b": "2"}})).json()
        path = f"threads/{thread['id']}"
        assert (await client.get(path)).json() == thread
        changed = (await client.post(path, json={"metadata": {"c": "3"}})).json()
        assert changed["metadata"] == {"c": "3"}
        assert (await client.get(path)).json()["metadata"] == {"c": "3"}

    async def test_an_empty_update_changes_nothing(self, client):
        thread = (await client.post("threads", json={"metadata": {"a": "1"}})).json()
        assert (await client.post(f"threads/{thread['id']}", json={})).json() == thread

    async def test_our_own_keys_are_neither_shown_nor_lost(self, client):
        run = await finished_run(client, "hi")
        path = f"threads/{run['thread_id']}"
        changed = (await client.post(path, json={"metadata": {"a": "1"}})).json()
        assert changed["metadata"] == {"a": "1"}
        listed = (await client.get(f"{path}/runs")).json()["data"]
        assert [found["id"] for found in listed] == [run["id"]]

    async def test_tool_resources_are_kept_across_a_metadata_update(self, client):
        files = {"file": ("a.csv", b"a,b", "text/csv")}
        file = (await client.post("files", files=files, data={"purpose": "assistants"})).json()
        resources = {"code_interpreter": {"file_ids": [file["id"]]}}
        thread = (await client.post("threads", json={"tool_resources": resources})).json()
        assert thread["tool_resources"] == resources
        path = f"threads/{thread['id']}"
        changed = (await client.post(path, json={"metadata": {"a": "1"}})).json()
        assert changed["metadata"] == {"a": "1"}
        assert changed["tool_resources"] == resources
        assert (await client.get(path)).json() == changed

    async def test_tool_resources_that_nobody_has_are_unknown(self, client):
        resources = {"file_search": {"vector_store_ids": ["vs_unknown"]}}
        response = await client.post("threads", json={"tool_resources": resources})
        assert error_of(response, 404)["param"] == "tool_resources.file_search.vector_store_ids"


class TestDelete:
    async def test_a_deleted_thread_is_gone_with_its_items(self, client, upstream):
        thread_id = await new_thread(client, *(f"message {n}" for n in range(25)))
        path = f"threads/{thread_id}"
        message_id = (await client.get(f"{path}/messages")).json()["first_id"]
        deleted = (await client.delete(path)).json()
        assert deleted == {"id": thread_id, "object": "thread.deleted", "deleted": True}
        for gone in (path, f"{path}/messages", f"{path}/messages/{message_id}", f"{path}/runs"):
            error_of(await client.get(gone), 404)
        error_of(await client.delete(path), 404)
        assert (await stats(upstream))["requests"]["DELETE /v1/conversations/{id}/items/{item}"] == 25

    async def test_a_thread_can_be_deleted_while_it_is_answered(self, client):
        thread_id = await new_thread(client, "slow: story")
        await client.post(f"threads/{thread_id}/runs", json={"assistant_id": "asst_soloist"})
        assert (await client.delete(f"threads/{thread_id}")).status_code == 200
        error_of(await client.get(f"threads/{thread_id}"), 404)

    async def test_runs_in_the_background_are_cancelled_first(self, client, upstream):
        ended = await finished_run(client, "hello")
        thread_id = ended["thread_id"]
        added = [{"role": "user", "content": "slow: story"}]
        await new_run(client, thread_id, additional_messages=added)
        assert (await client.delete(f"threads/{thread_id}")).status_code == 200
        found = await stats(upstream)
        assert found["requests"]["POST /v1/responses/{id}/cancel"] == 1
        assert found["active_generations"] == 0

    @pytest.mark.parametrize("path", ["chat", "threads/{}/runs"])
    async def test_a_stream_in_the_foreground_ends_as_cancelled(self, live, upstream, path):
        thread_id = await new_thread(live, "slow: story")
        chat = {"message": "slow: story", "thread_id": thread_id, "stream": True}
        body = chat if path == "chat" else {"assistant_id": ASSISTANT, "stream": True}
        seen: list[str] = []
        deleted: list[int] = []
        async with live.stream("POST", path.format(thread_id), json=body) as response:
            async for line in response.aiter_lines():
                seen.append(line)
                if "delta" in line and not deleted:
                    deleted.append((await live.delete(f"threads/{thread_id}")).status_code)
        assert deleted == [200]
        events = [(name, data) for name, data in frames("\n".join(seen)) if data != "[DONE]"]
        assert events[-1][1]["status"] == "cancelled"
        assert await is_idle(upstream)
        error_of(await live.get(f"threads/{thread_id}"), 404)
