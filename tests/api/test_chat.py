"""The chat surface: one call for a turn, in JSON and in each protocol that frontends speak."""

import time

import pytest

from tests.dialects import BADLY, DIALECTS, WELL, ends, request_of, text_in
from tests.support import Json, error_of, finished_run, frames, ids, names, new_thread, stats

KEYS = {
    "message",
    "thread_id",
    "role",
    "created_at",
    "run_id",
    "message_id",
    "status",
    "annotations",
    "usage",
}


class TestJson:
    async def test_a_first_turn_and_a_second_one(self, client):
        first = await client.post("chat", json={"message": "né 文"})
        answer = first.json()
        assert answer.keys() == KEYS
        assert answer["message"] == "You said: né 文"
        assert (answer["role"], answer["status"], answer["annotations"]) == ("assistant", "completed", [])
        assert answer["usage"]["total_tokens"] > 0
        assert abs(answer["created_at"] - time.time()) < 600
        second = (
            await client.post("chat", json={"message": "again", "thread_id": answer["thread_id"]})
        ).json()
        assert second["thread_id"] == answer["thread_id"]
        assert second["run_id"] != answer["run_id"]
        page = (await client.get(f"threads/{answer['thread_id']}/messages", params={"order": "asc"})).json()
        texts = [message["content"][0]["text"]["value"] for message in page["data"]]
        assert texts == ["né 文", "You said: né 文", "again", "You said: again"]

    async def test_it_is_a_run_that_can_be_read(self, client):
        answer = (await client.post("chat", json={"message": "hi"})).json()
        run = (await client.get(f"threads/{answer['thread_id']}/runs/{answer['run_id']}")).json()
        assert (run["status"], run["usage"]) == ("completed", answer["usage"])

    async def test_a_thread_that_was_made_elsewhere(self, client):
        thread_id = await new_thread(client, "before")
        answer = (await client.post("chat", json={"message": "hi", "thread_id": thread_id})).json()
        assert (answer["thread_id"], answer["message"]) == (thread_id, "You said: hi")

    @pytest.mark.parametrize(
        ("prompt", "message", "status"),
        [
            ("refuse: x", "I'm sorry, but I can't help with that.", "completed"),
            ("incomplete: x", "This answer stops before its", "incomplete"),
        ],
    )
    async def test_answers_that_are_not_plain(self, client, prompt, message, status):
        answer = (await client.post("chat", json={"message": prompt})).json()
        assert (answer["message"], answer["status"]) == (message, status)

    @pytest.mark.parametrize("prompt", ["fail:server_error", "fail-late:server_error"])
    async def test_a_run_that_failed_is_an_error_with_a_status(self, client, prompt):
        response = await client.post("chat", json={"message": prompt})
        error = error_of(response, 502)
        assert error["code"] == "server_error"
        assert "scripted" not in error["message"]
        assert response.headers["x-should-retry"] == "false"

    async def test_a_history_can_be_answered_in_json(self, client):
        messages = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
        answer = (await client.post("chat", json={"messages": messages, "stream": False})).json()
        assert answer["message"] == "You said: three"
        page = (await client.get(f"threads/{answer['thread_id']}/messages", params={"order": "asc"})).json()
        texts = [message["content"][0]["text"]["value"] for message in page["data"]]
        assert texts == ["one", "two", "three", "You said: three"]

    async def test_with_a_thread_only_what_is_new_is_appended(self, client):
        first = (await client.post("chat", json={"message": "one"})).json()
        messages = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "You said: one"},
            {"role": "user", "content": "two"},
        ]
        body = {"messages": messages, "thread_id": first["thread_id"], "stream": False}
        assert (await client.post("chat", json=body)).json()["message"] == "You said: two"
        page = (await client.get(f"threads/{first['thread_id']}/messages")).json()
        assert len(page["data"]) == 4

    async def test_nothing_is_started_upstream_for_a_request_that_is_refused(self, client, upstream):
        bodies: list[Json] = [{"message": ""}, {"message": "x", "thread_id": "thread_x"}, {"messages": []}]
        for body in bodies:
            assert (await client.post("chat", json=body)).status_code in {400, 404}
        found = await stats(upstream)
        assert (found["responses_created"], found["conversations"]) == (0, 0)


class TestStreams:
    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_every_dialect_tells_the_same_answer(self, either, dialect):
        path, body = request_of(dialect, "one two")
        response = await either.post(path, json=body)
        assert response.headers["content-type"].startswith("text/event-stream")
        events = frames(response.text)
        assert text_in(dialect, events) == "You said: one two"
        assert ends(dialect, events) == WELL[dialect]

    async def test_the_plain_events_that_a_person_reads(self, live):
        response = await live.post("chat", json={"message": "one two", "stream": True})
        events = frames(response.text)
        assert names(events) == ["thread", "delta", "done"]
        thread, done = events[0][1], events[-1][1]
        assert thread == {"thread_id": done["thread_id"], "run_id": done["run_id"]}
        assert done.keys() == KEYS
        assert done["message"] == "".join(data["text"] for name, data in events if name == "delta")
        assert ids(response.text) == sorted(set(ids(response.text)))

    async def test_bare_text(self, live):
        body = {"message": "né 文", "stream": True}
        response = await live.post("chat", json=body, headers={"accept": "text/plain"})
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.text == "You said: né 文"

    async def test_the_ai_sdk_frames(self, live):
        path, body = request_of("ai-sdk", "hi")
        response = await live.post(path, json={**body, "id": "chat-1", "trigger": "submit-message"})
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
        events = frames(response.text)
        assert all(name == "" for name, _ in events)
        kinds = [data["type"] for _, data in events[:-1]]
        assert kinds[:3] == ["start", "start-step", "text-start"]
        assert kinds[-3:] == ["text-end", "finish-step", "finish"]
        assert events[0][1]["messageMetadata"]["thread_id"].startswith("thread_")

    async def test_an_ag_ui_turn_names_its_run_first(self, live):
        path, body = request_of("ag-ui", "hi")
        events = frames((await live.post(path, json=body)).text)
        first, last = events[0][1], events[-1][1]
        assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", "t", "r")
        assert (last["type"], last["threadId"], last["runId"]) == ("RUN_FINISHED", "t", "r")

    async def test_deep_chats_messages(self, live):
        messages = [{"role": "ai", "text": "Hello!"}, {"role": "user", "text": "hi"}]
        events = frames((await live.post("chat", json={"messages": messages})).text)
        assert text_in("ai-sdk", events) == "You said: hi"

    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_a_failure_ends_every_dialect_once(self, live, dialect):
        path, body = request_of(dialect, "fail-late:server_error")
        events = frames((await live.post(path, json=body)).text)
        assert ends(dialect, events) == BADLY[dialect]
        assert text_in(dialect, events) == "This answer will not be finished"
        assert "as it was told" not in str(events)

    async def test_there_is_nothing_to_resume(self, client):
        response = await client.get("chat/any-id/stream")
        assert (response.status_code, response.content) == (204, b"")


class TestSources:
    async def test_a_cited_file_is_named_in_every_form(self, start, upstream):
        async with start(
            url=upstream, is_served=True, assistant_tools=[{"type": "code_interpreter"}]
        ) as service:
            client = service.client
            files = {"file": ("facts.txt", b"all is well", "text/plain")}
            file = (await client.post("files", files=files, data={"purpose": "assistants"})).json()
            body = {"tool_resources": {"code_interpreter": {"file_ids": [file["id"]]}}}
            thread = (await client.post("threads", json=body)).json()
            chat = {"message": "cite: all is well", "thread_id": thread["id"]}
            answer = (await client.post("chat", json=chat)).json()
            assert answer["message"] == "According to the file, all is well."
            source = answer["annotations"][0]
            assert (source["type"], source["file_id"], source["filename"]) == (
                "file_citation",
                file["id"],
                "facts.txt",
            )
            events = frames((await client.post("chat", json={**chat, "stream": True})).text)
            assert [data for name, data in events if name == "annotation"] == [source]
            page = (await client.get(f"threads/{thread['id']}/messages")).json()
            cited = page["data"][0]["content"][0]["text"]["annotations"][0]
            assert cited["file_citation"]["file_id"] == file["id"]
            assert cited.keys() == {"type", "text", "start_index", "end_index", "file_citation"}


class TestForegroundUpstreams:
    @pytest.mark.parametrize("mode", ["auto", "stream", "poll", "off"])
    async def test_every_mode_of_the_upstream_gives_the_same_answers(self, start, mode, adapter):
        async with start(is_served=True, upstream_background=mode, upstream_adapter=adapter) as service:
            client = service.client
            assert (await client.post("chat", json={"message": "hi"})).json()["message"] == "You said: hi"
            path, body = request_of("assistants", "hi")
            events = frames((await client.post(path, json=body)).text)
            assert ends("assistants", events) == WELL["assistants"]
            run = await finished_run(client, "hi")
            followed = frames((await client.get(f"threads/{run['thread_id']}/runs/{run['id']}/events")).text)
            assert text_in("assistants", followed) == "You said: hi"
            assert ends("assistants", followed) == WELL["assistants"]


class TestForms:
    """The same request however it is written down."""

    @pytest.mark.parametrize(
        ("headers", "query", "is_chunked"),
        [
            ({"content-type": "application/json"}, "", False),
            ({"content-type": "Application/JSON; charset=utf-8"}, "", False),
            ({"content-type": "application/json"}, "?page=1", False),
            ({"content-type": "application/json"}, "", True),
            ({"content-type": "application/json", "idempotency-key": "once"}, "", False),
        ],
    )
    async def test_every_form_is_answered_alike(self, client, headers, query, is_chunked):
        async def chunks():
            for piece in (b'{"message"', b': "hi"}'):
                yield piece

        content = chunks() if is_chunked else b'{"message": "hi"}'
        answer = await client.post(f"chat{query}", content=content, headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (200, "You said: hi")

    async def test_a_route_beside_one_with_a_parameter_keeps_its_path(self, client):
        refused = error_of(await client.post("threads/import", json={}), 400)
        assert refused["param"] == "data"
