"""Runs and their steps as JSON: every status a run comes to, its lists, and what callers may override."""

from typing import ClassVar

import httpx2
import pytest

from tests.support import ASSISTANT, TLS, WEATHER, Json, error_of, finished_run, new_run, new_thread, run_to

RUN_KEYS = {
    "id",
    "object",
    "created_at",
    "thread_id",
    "assistant_id",
    "status",
    "required_action",
    "last_error",
    "expires_at",
    "started_at",
    "cancelled_at",
    "failed_at",
    "completed_at",
    "incomplete_details",
    "model",
    "instructions",
    "tools",
    "parallel_tool_calls",
    "metadata",
    "usage",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_prompt_tokens",
    "truncation_strategy",
    "response_format",
    "tool_choice",
    "reasoning_effort",
}
STEP_KEYS = {
    "id",
    "object",
    "created_at",
    "run_id",
    "thread_id",
    "assistant_id",
    "type",
    "status",
    "step_details",
    "usage",
    "last_error",
    "expired_at",
    "cancelled_at",
    "failed_at",
    "completed_at",
    "metadata",
}


def path_of(run):
    return f"threads/{run['thread_id']}/runs/{run['id']}"


async def finished_id(client, thread_id):
    return (await run_to(client, await new_run(client, thread_id), "completed"))["id"]


class TestStatuses:
    async def test_a_live_run_says_when_to_ask_again(self, client):
        run = await new_run(client, await new_thread(client, "slow: story"))
        assert run.keys() == RUN_KEYS
        assert run["status"] in {"queued", "in_progress"}
        assert run["expires_at"] == run["created_at"] + 600
        assert run["usage"] is None
        response = await client.get(path_of(run))
        assert response.json()["status"] == "in_progress"
        assert response.headers["openai-poll-after-ms"] == "500"
        await client.post(f"{path_of(run)}/cancel")

    @pytest.mark.parametrize(
        ("prompt", "status", "moment"),
        [
            ("hi", "completed", "completed_at"),
            ("incomplete: x", "incomplete", "completed_at"),
            ("fail:server_error", "failed", "failed_at"),
            ("use the tool", "requires_action", None),
        ],
    )
    async def test_every_ending(self, client, prompt, status, moment):
        run = await finished_run(client, prompt, status)
        assert run.keys() == RUN_KEYS
        moments = {"completed_at", "failed_at", "cancelled_at"}
        assert {name for name in moments if run[name]} == ({moment} if moment else set())
        assert (run["last_error"] is not None) == (status == "failed")
        assert (run["incomplete_details"] is not None) == (status == "incomplete")
        assert (run["required_action"] is not None) == (status == "requires_action")
        assert "openai-poll-after-ms" not in (await client.get(path_of(run))).headers

    async def test_a_run_beyond_its_deadline_is_cancelled_upstream_and_expired(self, start, upstream):
        async with start(url=upstream, run_expires_seconds=0.01) as service:
            run = await new_run(service.client, await new_thread(service.client, "slow: story"))
            found = await run_to(service.client, run, "expired")
            assert found["expires_at"] is None
            again = (await service.client.get(path_of(run))).json()
            assert again == found
        async with start(url=upstream) as service:
            assert (await service.client.get(path_of(run))).json()["status"] == "expired"
            answer = await service.client.post("chat", json={"message": "hi", "thread_id": run["thread_id"]})
            assert answer.json()["message"] == "You said: hi"

    async def test_a_run_whose_response_is_gone_is_unknown(self, client, upstream):
        run = await finished_run(client, "hi")
        async with httpx2.AsyncClient(base_url=upstream, verify=TLS) as direct:
            await direct.delete(f"/responses/resp_{run['id'].removeprefix('run_')}")
        assert error_of(await client.get(path_of(run)), 404)["code"] == "run_not_found"
        assert (await client.get(f"threads/{run['thread_id']}/runs")).json()["data"] == []

    async def test_a_thread_and_its_run_in_one_call(self, client):
        body = {
            "assistant_id": ASSISTANT,
            "thread": {"messages": [{"role": "user", "content": "hi"}], "metadata": {"t": "1"}},
            "metadata": {"r": "1"},
        }
        run = (await client.post("threads/runs", json=body)).json()
        done = await run_to(client, run, "completed")
        assert done["metadata"] == {"r": "1"}
        thread = (await client.get(f"threads/{run['thread_id']}")).json()
        assert thread["metadata"] == {"t": "1"}

    async def test_a_run_on_nothing_is_refused_with_a_reason(self, client):
        response = await client.post(
            f"threads/{await new_thread(client)}/runs", json={"assistant_id": ASSISTANT}
        )
        assert error_of(response, 400)["message"]


class TestCancel:
    async def test_a_cancelled_run_frees_its_thread(self, client):
        run = await new_run(client, await new_thread(client, "slow: story"))
        cancelled = (await client.post(f"{path_of(run)}/cancel")).json()
        assert cancelled["status"] in {"cancelling", "cancelled"}
        done = await run_to(client, run, "cancelled")
        assert done["cancelled_at"]
        for _ in range(2):
            error = error_of(await client.post(f"{path_of(run)}/cancel"), 400)
            assert "cancelled" in error["message"]
        answer = await client.post("chat", json={"message": "hi", "thread_id": run["thread_id"]})
        assert answer.json()["message"] == "You said: hi"


class TestLists:
    async def test_the_latest_ten_runs_newest_first(self, client):
        thread_id = await new_thread(client, "hi")
        made = [await finished_id(client, thread_id) for _ in range(12)]
        page = (await client.get(f"threads/{thread_id}/runs")).json()
        assert [run["id"] for run in page["data"]] == made[:1:-1]
        assert page["data"][0].keys() == RUN_KEYS
        oldest = (await client.get(f"threads/{thread_id}/runs/{made[0]}")).json()
        assert oldest["status"] == "completed"

    @pytest.mark.parametrize(
        ("order", "query", "expected", "has_more"),
        [
            ("desc", {"limit": 2}, [3, 2], True),
            ("desc", {"after": 2}, [1, 0], False),
            ("desc", {"before": 1, "limit": 1}, [2], True),
            ("asc", {}, [0, 1, 2, 3], False),
            ("asc", {"after": 0, "limit": 2}, [1, 2], True),
            ("asc", {"before": 2}, [0, 1], False),
        ],
    )
    async def test_windows(self, client, order, query, expected, has_more):
        thread_id = await new_thread(client, "hi")
        ids = [await finished_id(client, thread_id) for _ in range(4)]
        cursors = {name: ids[query[name]] for name in ("after", "before") if name in query}
        page = (
            await client.get(f"threads/{thread_id}/runs", params={"order": order, **query, **cursors})
        ).json()
        assert [ids.index(run["id"]) for run in page["data"]] == expected
        assert page["has_more"] is has_more

    async def test_a_chat_that_outlives_its_client_is_a_run_like_any_other(self, client):
        answer = (await client.post("chat", json={"message": "hi", "on_disconnect": "detach"})).json()
        page = (await client.get(f"threads/{answer['thread_id']}/runs")).json()
        assert [run["id"] for run in page["data"]] == [answer["run_id"]]

    async def test_a_chat_that_ends_with_its_client_is_read_by_its_run_id_and_not_listed(self, client):
        answer = (await client.post("chat", json={"message": "hi"})).json()
        path = f"threads/{answer['thread_id']}"
        assert (await client.get(f"{path}/runs")).json()["data"] == []
        run = (await client.get(f"{path}/runs/{answer['run_id']}")).json()
        assert (run["id"], run["status"]) == (answer["run_id"], "completed")
        messages = (await client.get(f"{path}/messages")).json()["data"]
        assert [message["run_id"] for message in messages] == [None, None]


class TestSteps:
    async def test_a_message_step(self, client):
        run = await finished_run(client, "hi")
        page = (await client.get(f"{path_of(run)}/steps")).json()
        step = page["data"][0]
        assert step.keys() == STEP_KEYS
        message = (await client.get(f"threads/{run['thread_id']}/messages")).json()["data"][0]
        details = {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
        assert step["step_details"] == details
        assert (step["status"], step["run_id"], step["usage"]) == ("completed", run["id"], run["usage"])
        assert (await client.get(f"{path_of(run)}/steps/{step['id']}")).json() == step

    async def test_a_waiting_step(self, client):
        run = await finished_run(client, "use the tools", "requires_action")
        step = (await client.get(f"{path_of(run)}/steps")).json()["data"][0]
        assert (step["type"], step["status"], step["completed_at"]) == ("tool_calls", "in_progress", None)
        calls = step["step_details"]["tool_calls"]
        asked = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert [call["id"] for call in calls] == [call["id"] for call in asked]
        assert [call["function"]["output"] for call in calls] == [None, None]

    async def test_a_run_that_failed_before_it_did_anything_has_none(self, client):
        run = await finished_run(client, "fail:server_error", "failed")
        page = (await client.get(f"{path_of(run)}/steps")).json()
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


class TestOverrides:
    async def test_what_a_run_overrides_is_what_it_shows(self, client):
        other = {**WEATHER, "function": {**WEATHER["function"], "name": "get_tide"}}
        schema = {"name": "answer", "schema": {"type": "object"}}
        sent = {
            "model": "gpt-6-sol",
            "instructions": "Be brief.",
            "tools": [other, {"type": "code_interpreter"}],
            "tool_choice": {"type": "function", "function": {"name": "get_tide"}},
            "parallel_tool_calls": False,
            "temperature": 0.25,
            "top_p": 0.5,
            "max_completion_tokens": 77,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "reasoning_effort": "low",
            "metadata": {"a": "b"},
        }
        run = await new_run(client, await new_thread(client, "hi"), **sent)
        shown = dict(sent, model=run["model"], tools=run["tools"], response_format=run["response_format"])
        assert {name: run[name] for name in sent} == shown
        assert [tool.get("function", {}).get("name") for tool in run["tools"]] == ["get_tide", None]
        assert run["response_format"]["json_schema"]["name"] == schema["name"]

    async def test_additional_instructions_come_after_the_assistants(self, start, upstream):
        async with start(url=upstream, assistant_instructions="Be kind.") as service:
            run = await new_run(
                service.client, await new_thread(service.client, "hi"), additional_instructions="Be brief."
            )
        assert run["instructions"] == "Be kind.\n\nBe brief."

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("model", "gpt-6-sol"),
            ("instructions", "x"),
            ("additional_instructions", "x"),
            ("tools", [{"type": "code_interpreter"}]),
            ("reasoning_effort", "high"),
        ],
    )
    async def test_an_operator_can_forbid_what_costs_him(self, start, upstream, name, value):
        async with start(url=upstream, allow_run_overrides="none") as service:
            thread_id = await new_thread(service.client, "hi")
            body = {"assistant_id": ASSISTANT, name: value}
            for stream in (False, True):
                response = await service.client.post(
                    f"threads/{thread_id}/runs", json={**body, "stream": stream}
                )
                error = error_of(response, 403)
                assert (error["code"], error["param"]) == ("override_not_allowed", name)
            same = {"assistant_id": ASSISTANT, "model": "gpt-6-luna", "temperature": 0.5}
            assert (await service.client.post(f"threads/{thread_id}/runs", json=same)).status_code == 200


class TestUnsupported:
    BODY: ClassVar[Json] = {"assistant_id": ASSISTANT, "max_prompt_tokens": 1000, "nonsense": 1}

    async def test_lenient_names_what_it_ignores(self, client):
        thread_id = await new_thread(client, "hi")
        response = await client.post(f"threads/{thread_id}/runs", json=self.BODY)
        assert response.status_code == 200
        assert set(response.headers["x-ignored-params"].split(", ")) == {"max_prompt_tokens", "nonsense"}

    async def test_strict_refuses_it(self, start, upstream):
        async with start(url=upstream, unsupported_params="strict") as service:
            thread_id = await new_thread(service.client, "hi")
            response = await service.client.post(f"threads/{thread_id}/runs", json=self.BODY)
            error = error_of(response, 400)
            assert (error["code"], error["param"]) == ("unsupported_parameter", "max_prompt_tokens")
            body = {"messages": [{"role": "user", "content": "x", "nonsense": 1}]}
            error = error_of(await service.client.post("threads", json=body), 400)
            assert error["param"] == "messages[0].nonsense"

    async def test_nothing_is_said_where_nothing_is_lost(self, client):
        thread_id = await new_thread(client, "hi")
        body = {"assistant_id": ASSISTANT, "max_prompt_tokens": None, "truncation_strategy": {"type": "auto"}}
        response = await client.post(f"threads/{thread_id}/runs", json=body)
        assert "x-ignored-params" not in response.headers
