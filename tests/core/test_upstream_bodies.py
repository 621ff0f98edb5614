"""What goes over the wire, byte for meaning, through both adapters: the bodies that runs and chats become."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import Connection, fake_upstream
from tests.support import ASSISTANT, WEATHER, Json, error_of, in_process, make_settings

FLAT_WEATHER = {**WEATHER["function"], "type": "function", "strict": False}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeOpenAI]:
    found = FakeOpenAI()
    async with fake_upstream(found.handle) as fake:
        found.url = fake.url
        yield found


@pytest.fixture
def serving(upstream: FakeOpenAI, adapter: str) -> Any:
    """Run a service before that upstream, with these settings."""

    def begin(**settings: Any) -> Any:
        defaults = {"openai_base_url": upstream.url, "openai_api_key": "key", "upstream_adapter": adapter}
        return in_process(make_settings(**(defaults | settings)))

    return begin


@pytest.fixture
def ask(serving: Any) -> Any:
    """Send one POST to a service with these settings; the answer."""

    async def send(path: str, body: Json, **settings: Any) -> httpx2.Response:
        async with serving(**settings) as service:
            response: httpx2.Response = await service.client.post(path, json=body)
            return response

    return send


class TestRuns:
    async def test_a_run_is_a_stored_background_response_with_instructions(self, ask, upstream):
        response = await ask(
            "threads/thread_1/runs", {"assistant_id": ASSISTANT}, assistant_instructions="Be kind."
        )
        assert response.status_code == 200, response.text
        body = upstream.sent[0]
        assert body["conversation"] == "conv_1"
        assert (body["store"], body["background"]) == (True, True)
        assert (body["model"], body["instructions"]) == ("gpt-6-luna", "Be kind.")
        assert not {"temperature", "top_p", "reasoning", "text", "tools", "tool_choice"} & body.keys()
        assert len(upstream.sent) == 1

    async def test_overrides_become_response_parameters(self, ask, upstream):
        schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
        body = {
            "assistant_id": ASSISTANT,
            "model": "gpt-6-sol",
            "instructions": "Be brief.",
            "additional_instructions": "In verse.",
            "additional_messages": [{"role": "user", "content": "hi"}],
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "parallel_tool_calls": False,
            "temperature": 0.5,
            "top_p": 0.25,
            "max_completion_tokens": 99,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "reasoning_effort": "low",
            "metadata": {"a": "b"},
        }
        assert (await ask("threads/thread_1/runs", body)).status_code == 200
        sent = upstream.sent[0]
        assert sent["model"] == "gpt-6-sol"
        assert sent["instructions"] == "Be brief.\n\nIn verse."
        assert sent["input"] == [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
        ]
        assert sent["tools"] == [FLAT_WEATHER]
        assert sent["tool_choice"] == {"type": "function", "name": "get_weather"}
        assert (sent["parallel_tool_calls"], sent["temperature"], sent["top_p"]) == (False, 0.5, 0.25)
        assert sent["max_output_tokens"] == 99
        assert sent["text"] == {"format": {"type": "json_schema", **schema}}
        assert sent["reasoning"] == {"effort": "low"}
        assert sent["metadata"]["a"] == "b"
        assert not {"assistant_id", "additional_messages", "max_completion_tokens"} & sent.keys()

    async def test_the_operators_cap_holds_over_an_override(self, ask, upstream):
        body = {"assistant_id": ASSISTANT, "max_completion_tokens": 900}
        await ask("threads/thread_1/runs", body, max_output_tokens=100)
        assert upstream.sent[0]["max_output_tokens"] == 100
        await ask("chat", {"message": "hi"}, max_output_tokens=100)
        assert upstream.sent[1]["max_output_tokens"] == 100

    async def test_a_thread_and_run_sends_the_messages_to_the_conversation(self, ask, upstream):
        thread = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"t": "1"}}
        await ask("threads/runs", {"assistant_id": ASSISTANT, "thread": thread})
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
        assert upstream.conversations == [{"metadata": {"t": "1"}, "items": [message]}]
        assert upstream.sent[0].get("input", []) == []

    async def test_a_summary_of_the_reasoning_is_asked_for_beside_the_effort(self, ask, upstream):
        settings = {"assistant_reasoning_summary": "auto", "allow_run_overrides": "all"}
        await ask("chat", {"message": "hi"}, **settings)
        run = {"assistant_id": ASSISTANT, "reasoning_effort": "low"}
        await ask("threads/thread_1/runs", run, **settings)
        assert [sent["reasoning"] for sent in upstream.sent] == [
            {"summary": "auto"},
            {"effort": "low", "summary": "auto"},
        ]

    async def test_an_exported_assistant_is_sent_with_every_call(self, ask, upstream, tmp_path):
        exported = {
            "name": "Analyst",
            "model": "gpt-6-sol",
            "instructions": "Count.",
            "tools": [
                WEATHER,
                {"type": "file_search", "file_search": {"max_num_results": 5}},
                {"type": "code_interpreter"},
            ],
            "tool_resources": {
                "file_search": {"vector_store_ids": ["vs_1"]},
                "code_interpreter": {"file_ids": ["file-1"]},
            },
            "temperature": 0.5,
            "top_p": 0.9,
            "response_format": {"type": "json_object"},
            "reasoning_effort": "high",
        }
        path = tmp_path / "assistant.json"
        path.write_text(json.dumps(exported))
        for route, body in (
            ("chat", {"message": "hi"}),
            ("threads/thread_1/runs", {"assistant_id": "asst_soloist"}),
        ):
            response = await ask(route, body, assistant_file=path)
            assert response.status_code == 200, response.text
            sent = upstream.sent[-1]
            assert (sent["model"], sent["instructions"]) == ("gpt-6-sol", "Count.")
            assert sent["tools"] == [
                FLAT_WEATHER,
                {"type": "file_search", "max_num_results": 5, "vector_store_ids": ["vs_1"]},
                {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
            ]
            assert (sent["temperature"], sent["top_p"]) == (0.5, 0.9)
            assert sent["text"] == {"format": {"type": "json_object"}}
            assert sent["reasoning"] == {"effort": "high"}


class TestMetadata:
    async def test_the_history_is_written_beside_the_clients_metadata(self, ask, upstream):
        upstream.metadata = {"topic": "billing", "soloist_resources": "{}"}
        await ask("threads/thread_1/runs", {"assistant_id": ASSISTANT})
        written = upstream.metadata_writes[-1]
        assert written["topic"] == "billing"
        assert written["soloist_resources"] == "{}"
        assert "1" in written["soloist_runs"]

    async def test_a_client_replaces_only_its_own(self, ask, upstream):
        upstream.metadata = {"old": "x", "soloist_runs": "1", "soloist_run": "1>2"}
        thread = (await ask("threads/thread_1", {"metadata": {"new": "y"}})).json()
        assert thread["metadata"] == {"new": "y"}
        assert upstream.metadata_writes == [{"new": "y", "soloist_runs": "1", "soloist_run": "1>2"}]


NO_BACKGROUND_STREAM = {"detail": "background mode is not supported together with streaming"}
NO_BACKGROUND = {"error": {"message": "Unsupported parameter", "param": "background", "code": None}}
LOCKED = {"error": {"message": "busy", "param": None, "code": "conversation_locked"}}


class TestBackground:
    @pytest.mark.parametrize("refused", [NO_BACKGROUND_STREAM, NO_BACKGROUND])
    async def test_an_upstream_that_refuses_background_streams_gets_foreground_ones(
        self, ask, upstream, refused
    ):
        upstream.refusals = [(400, refused, {})]
        response = await ask("chat", {"message": "hi", "on_disconnect": "detach"})
        assert response.json()["message"] == "Hello."
        assert [body.get("background") for body in upstream.sent] == [True, None]
        assert [body["stream"] for body in upstream.sent] == [True, True]
        assert all(body["store"] for body in upstream.sent)

    @pytest.mark.parametrize("mode", ["auto", "poll"])
    async def test_a_run_is_finished_inside_its_post_where_there_is_no_background(self, ask, upstream, mode):
        upstream.refusals = [(400, NO_BACKGROUND, {})]
        body = {"assistant_id": ASSISTANT}
        run = (await ask("threads/thread_1/runs", body, upstream_background=mode)).json()
        assert run["status"] == "completed"
        assert [body.get("background") for body in upstream.sent] == [True, None]

    async def test_what_was_found_out_is_asked_once(self, serving, upstream):
        upstream.refusals = [(400, NO_BACKGROUND_STREAM, {})]
        async with serving() as service:
            for _ in range(3):
                await service.client.post("chat", json={"message": "hi", "on_disconnect": "detach"})
        assert [body.get("background") for body in upstream.sent] == [True, None, None, None]

    async def test_a_setting_spares_the_question(self, ask, upstream):
        await ask("chat", {"message": "hi", "on_disconnect": "detach"}, upstream_background="off")
        assert [body.get("background") for body in upstream.sent] == [None]


class TestOnce:
    """A POST that starts work is sent once, whatever comes back, unless it surely started nothing."""

    @pytest.mark.parametrize(
        ("refused", "status", "code"),
        [
            ((500, {"error": {"message": "canary"}}, {}), 502, "upstream_failed"),
            ((503, {"error": {"message": "canary"}}, {}), 502, "upstream_failed"),
            ((401, {"error": {"message": "canary"}}, {}), 502, "upstream_auth_failed"),
            ((403, {"error": {"message": "canary"}}, {}), 502, "upstream_auth_failed"),
            (
                (429, {"error": {"message": "canary"}}, {"retry_after": "7"}),
                429,
                "upstream_rate_limited",
            ),
            ((400, {"error": {"message": "canary"}}, {}), 400, "upstream_refused"),
            ((504, {}, {}), 504, "upstream_timeout"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_failure_is_told_and_not_repeated(self, ask, upstream, refused, status, code, stream):
        said = [{"role": "user", "content": "hi"}]
        for path, body in (
            ("chat", {"message": "hi", "stream": stream}),
            (
                "threads/thread_1/runs",
                {"assistant_id": ASSISTANT, "stream": stream, "additional_messages": said},
            ),
        ):
            upstream.refusals = [refused]
            upstream.sent.clear()
            response = await ask(path, body)
            assert error_of(response, status)["code"] == code
            assert "canary" not in response.text
            assert len(upstream.sent) == 1
            if status == 429:
                assert response.headers["retry-after"] == "7"

    async def test_a_lost_connection_is_not_tried_again(self, ask, upstream, monkeypatch):
        async def lose(body: Json, connection: Connection) -> None:
            upstream.sent.append(body)
            connection.reset()

        monkeypatch.setattr(upstream, "_respond", lose)
        response = await ask("chat", {"message": "hi"})
        assert error_of(response, 502)["code"] == "upstream_broken"
        assert response.headers["x-should-retry"] == "false"
        assert len(upstream.sent) == 1

    async def test_silence_is_not_answered_by_another_try(self, ask, upstream, monkeypatch):
        async def say_nothing(body: Json, connection: Connection) -> None:
            upstream.sent.append(body)
            await connection.until_gone()

        monkeypatch.setattr(upstream, "_respond", say_nothing)
        response = await ask("chat", {"message": "hi"}, run_expires_seconds=0.3)
        assert error_of(response, 504)["code"] == "upstream_timeout"
        assert response.headers["x-should-retry"] == "false"
        assert len(upstream.sent) == 1

    async def test_an_upstream_that_is_not_there_is_told(self, ask, unused_tcp_port):
        url = f"http://127.0.0.1:{unused_tcp_port}/v1"
        response = await ask("chat", {"message": "hi"}, openai_base_url=url)
        assert error_of(response, 502)["code"] == "upstream_unreachable"
        assert response.headers["retry-after"]

    async def test_a_locked_conversation_is_waited_for(self, ask, upstream):
        upstream.refusals = [(400, LOCKED, {}), (400, LOCKED, {})]
        response = await ask("chat", {"message": "hi", "thread_id": "thread_1"})
        assert response.json()["message"] == "Hello."
        assert len(upstream.sent) == 3

    async def test_reads_are_repeated_and_then_told(self, serving, upstream):
        upstream.read_status = 500
        async with serving() as service:
            response = await service.client.get("threads/thread_1/runs/run_1")
        assert error_of(response, 502)["code"] == "upstream_failed"
        assert upstream.reads == 3
