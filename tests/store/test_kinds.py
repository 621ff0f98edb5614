"""Every surface over upstreams that keep no conversations: responses only, nothing, and nothing told."""

import pytest

from app.embedded.kinds import supported_request
from tests.api.test_streams import PLAIN, data_of, streamed
from tests.api.test_tools import ANSWERED, ASKED, CONTINUED, outputs_for, submit, waiting_run
from tests.dialects import DIALECTS, WELL, ends, request_of, text_in
from tests.support import (
    embedded_upstream,
    error_of,
    finished_run,
    frames,
    names,
    new_run,
    new_thread,
    run_to,
    stats,
    text_of,
)

KINDS = {
    "responses": {"kind": "responses"},
    "nothing": {"kind": "nothing", "unsupported": "refuse"},
    "little": {"kind": "nothing", "unsupported": "ignore"},
}


@pytest.fixture(params=KINDS)
async def upstream(request):
    async with embedded_upstream(**KINDS[request.param]) as url:
        yield url


@pytest.fixture
async def live(start, upstream, store_url):
    async with start(url=upstream, is_served=True, conversations="own", store_url=store_url) as service:
        yield service.client


@pytest.fixture
def asked(monkeypatch):
    """The requests for a response, as the upstream received them."""
    found = []

    def remembered(request, settings):
        found.append(request)
        return supported_request(request, settings)

    monkeypatch.setattr("app.embedded.routes.responses.supported_request", remembered)
    return found


def _said(request):
    """Role and text of the messages that a request holds."""
    contents = [(item["role"], item["content"]) for item in request.input if "role" in item]
    return [
        (role, content if isinstance(content, str) else "".join(part["text"] for part in content))
        for role, content in contents
    ]


async def _texts(client, thread_id):
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [message["content"][0]["text"]["value"] for message in page["data"]]


async def _chat(client, message, **body):
    response = await client.post("chat", json={"message": message, **body})
    assert response.status_code == 200, response.text
    return response.json()


class TestChat:
    async def test_the_second_turn_holds_the_first(self, live, asked):
        first = await _chat(live, "one")
        second = await _chat(live, "two", thread_id=first["thread_id"])
        assert (first["message"], second["message"]) == ("You said: one", "You said: two")
        assert second["thread_id"] == first["thread_id"]
        assert second["run_id"] != first["run_id"]
        assert [request.conversation for request in asked] == [None, None]
        assert [request.previous_response_id for request in asked] == [None, None]
        assert _said(asked[1]) == [("user", "one"), ("assistant", "You said: one"), ("user", "two")]

    async def test_messages_are_listed_read_and_deleted(self, live):
        thread_id = (await _chat(live, "one"))["thread_id"]
        await _chat(live, "two", thread_id=thread_id)
        assert await _texts(live, thread_id) == ["one", "You said: one", "two", "You said: two"]
        path = f"threads/{thread_id}/messages"
        page = (await live.get(path, params={"limit": 2})).json()
        assert (len(page["data"]), page["has_more"]) == (2, True)
        rest = (await live.get(path, params={"limit": 2, "after": page["last_id"]})).json()
        assert (len(rest["data"]), rest["has_more"]) == (2, False)
        message = page["data"][0]
        assert (await live.get(f"{path}/{message['id']}")).json() == message
        assert (await live.delete(f"{path}/{message['id']}")).json()["deleted"] is True
        error_of(await live.get(f"{path}/{message['id']}"), 404)

    async def test_a_stream_tells_the_whole_answer(self, live, asked):
        first = await _chat(live, "one")
        body = {"message": "two", "thread_id": first["thread_id"], "stream": True}
        events = frames((await live.post("chat", json=body)).text)
        assert names(events) == ["thread", "delta", "done"]
        assert events[-1][1]["message"] == "You said: two"
        assert _said(asked[1])[0] == ("user", "one")
        assert await _texts(live, first["thread_id"]) == ["one", "You said: one", "two", "You said: two"]

    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_every_dialect_tells_it(self, live, dialect):
        path, body = request_of(dialect, "one two")
        events = frames((await live.post(path, json=body)).text)
        assert text_in(dialect, events) == "You said: one two"
        assert ends(dialect, events) == WELL[dialect]

    async def test_ai_sdk_frames(self, live):
        path, body = request_of("ai-sdk", "hi")
        events = frames((await live.post(path, json={**body, "id": "chat-1"})).text)
        kinds = [data["type"] for _, data in events[:-1]]
        assert list(dict.fromkeys(kinds)) == [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "finish-step",
            "finish",
        ]

    async def test_reasoning_does_not_stand_in_the_way(self, live):
        thread_id = (await _chat(live, "think: one"))["thread_id"]
        assert (await _chat(live, "two", thread_id=thread_id))["message"] == "You said: two"


class TestRuns:
    async def test_a_run_is_polled_to_its_end(self, live):
        thread_id = await new_thread(live, "one")
        run = await run_to(live, await new_run(live, thread_id), "completed")
        assert run["usage"]["total_tokens"] > 0
        assert await _texts(live, thread_id) == ["one", "You said: one"]
        listed = (await live.get(f"threads/{thread_id}/runs")).json()["data"]
        assert [found["id"] for found in listed] == [run["id"]]
        message = (await live.get(f"threads/{thread_id}/messages", params={"run_id": run["id"]})).json()
        assert [found["run_id"] for found in message["data"]] == [run["id"]]

    async def test_a_streamed_run_tells_every_event(self, live):
        events = frames((await streamed(live, await new_thread(live, "one two"))).text)
        assert names(events) == PLAIN
        assert text_of(events) == "You said: one two"

    async def test_steps_are_listed_and_read(self, live):
        run = await finished_run(live, "one")
        path = f"threads/{run['thread_id']}/runs/{run['id']}/steps"
        (step,) = (await live.get(path)).json()["data"]
        assert (step["type"], step["status"]) == ("message_creation", "completed")
        assert (await live.get(f"{path}/{step['id']}")).json() == step

    async def test_the_thread_is_usable_after_a_cancel(self, live):
        thread_id = await new_thread(live, "slow: go")
        run = await new_run(live, thread_id)
        cancelled = await live.post(f"threads/{thread_id}/runs/{run['id']}/cancel")
        assert cancelled.json()["status"] in {"cancelling", "cancelled"}
        await run_to(live, run, "cancelled")
        assert (await _chat(live, "next", thread_id=thread_id))["message"] == "You said: next"

    async def test_an_ended_run_cannot_be_cancelled(self, live):
        run = await finished_run(live, "one")
        error_of(await live.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel"), 400)

    async def test_a_failed_run_leaves_the_thread_usable(self, live):
        run = await finished_run(live, "fail:server_error", "failed")
        assert run["last_error"]["code"] == "server_error"
        assert (await _chat(live, "next", thread_id=run["thread_id"]))["message"] == "You said: next"


class TestTools:
    async def test_outputs_go_on_with_the_run(self, live, asked):
        run = await waiting_run(live)
        outputs = outputs_for(run)
        ended = await run_to(live, (await submit(live, run, outputs)).json(), "completed")
        assert (ended["id"], ended["required_action"]) == (run["id"], None)
        assert (await _texts(live, run["thread_id"]))[-1] == "The tool answered: sunny"
        kinds = [item.get("type", "message") for item in asked[-1].input]
        assert kinds == ["message", "function_call", "function_call_output"]
        steps = (await live.get(f"threads/{run['thread_id']}/runs/{run['id']}/steps")).json()["data"]
        assert [step["type"] for step in steps] == ["message_creation", "tool_calls"]
        assert steps[1]["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
        error_of(await submit(live, run, outputs), 400)

    async def test_streams_tell_every_event(self, live):
        events = frames((await streamed(live, await new_thread(live, "use the tool"))).text)
        assert names(events) == ASKED
        run = data_of(events, "thread.run.requires_action")[0]
        events = frames((await submit(live, run, outputs_for(run), stream=True)).text)
        assert names(events) == [*CONTINUED, *ANSWERED]
        assert text_of(events) == "The tool answered: sunny"

    async def test_a_waiting_run_can_be_cancelled(self, live):
        run = await waiting_run(live)
        cancelled = (await live.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel")).json()
        assert (cancelled["status"], cancelled["required_action"]) == ("cancelled", None)
        assert (await _chat(live, "next", thread_id=run["thread_id"]))["message"] == "You said: next"


class TestThreads:
    async def test_metadata_is_kept(self, live):
        thread = (await live.post("threads", json={"metadata": {"k": "v"}})).json()
        path = f"threads/{thread['id']}"
        assert (await live.get(path)).json()["metadata"] == {"k": "v"}
        assert (await live.post(path, json={"metadata": {"k": "w"}})).json()["metadata"] == {"k": "w"}
        assert (await live.get(path)).json()["metadata"] == {"k": "w"}

    async def test_a_deleted_thread_is_gone(self, live):
        run = await finished_run(live, "one")
        path = f"threads/{run['thread_id']}"
        assert (await live.delete(path)).json()["deleted"] is True
        for gone in (path, f"{path}/messages", f"{path}/runs/{run['id']}"):
            error_of(await live.get(gone), 404)
        response = await live.post("chat", json={"message": "x", "thread_id": run["thread_id"]})
        error_of(response, 404)


async def test_a_server_without_conversations_is_found_out(start, asked, tmp_path, monkeypatch):
    """Ollama's address and a model are all that is set."""
    monkeypatch.chdir(tmp_path)
    async with (
        embedded_upstream(kind="nothing", unsupported="ignore", model="llama3.2") as url,
        start(
            url=url,
            is_served=True,
            openai_api_key=None,
            assistant_model="llama3.2",
            conversations="auto",
            assistant_tools=[],
        ) as service,
    ):
        first = await _chat(service.client, "one")
        second = await _chat(service.client, "two", thread_id=first["thread_id"])
        assert second["message"] == "You said: two"
        assert {request.model for request in asked} == {"llama3.2"}
        assert _said(asked[1]) == [("user", "one"), ("assistant", "You said: one"), ("user", "two")]
        assert "conversation" not in str((await stats(url))["requests"])


async def test_azure_is_known_by_its_settings(start, asked, store_url):
    async with (
        embedded_upstream(kind="responses", api_key="sesame") as url,
        start(
            url=url,
            is_served=True,
            openai_base_url=None,
            openai_api_key=None,
            azure_openai_endpoint=url.removesuffix("/v1"),
            azure_openai_key="sesame",
            conversations="auto",
            store_url=store_url,
        ) as service,
    ):
        first = await _chat(service.client, "one")
        assert (await _chat(service.client, "two", thread_id=first["thread_id"]))[
            "message"
        ] == "You said: two"
        assert _said(asked[1])[0] == ("user", "one")
