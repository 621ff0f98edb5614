"""Rounds of calls with given answers of the model: who carries out what, and how it ends."""

import asyncio
import json

import pytest

from tests.api.scripted_tools import THEIRS, call, outputs
from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import ASSISTANT, frames, names, new_run, new_thread, run_to, until


async def test_rounds_go_on_until_the_model_answers(before, counted):
    model = ScriptedOpenAI([call("ours", 1)], [message("so far", 1), call("ours", 2)], [message("done", 2)])
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert answer["message"] == "so far\n\ndone"
    assert answer["usage"]["total_tokens"] == 15
    assert counted() == 2
    sent = [[item.get("output") for item in body["input"]] for body in model.sent]
    assert sent == [[None], ["ours 1"], ["ours 2"]]


async def test_ours_are_carried_out_first_and_the_client_is_asked_for_the_rest(before, counted):
    model = ScriptedOpenAI([call("ours", 1), call("theirs", 2)], [message("done")])
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        client = service.client
        run = await run_to(client, await new_run(client, await new_thread(client, "hi")), "requires_action")
        (waiting,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert (waiting["id"], counted()) == ("call_2", 1)
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        refused = await client.post(f"{path}/submit_tool_outputs", json=outputs(("call_1", "x")))
        assert refused.status_code == 400
        body = outputs(("call_2", "theirs")) | {"stream": True}
        events = frames((await client.post(f"{path}/submit_tool_outputs", json=body)).text)
        step = next(data for name, data in events if name == "thread.run.step.completed")
        given = [each["function"]["output"] for each in step["step_details"]["tool_calls"]]
        assert given == ["ours 1", "theirs"]
        assert events[-2][0] == "thread.run.completed"
        assert counted() == 1
        steps = (await client.get(f"{path}/steps?order=asc")).json()["data"]
        assert [each["function"]["output"] for each in steps[0]["step_details"]["tool_calls"]] == given


async def test_a_stream_with_both_kinds_ends_by_asking_the_client(before):
    model = ScriptedOpenAI([call("ours", 1), call("theirs", 2)], [message("done")])
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        response = await service.client.post("chat", json={"message": "hi", "stream": True})
        events = frames(response.text)
        assert names(events) == ["thread", "tool", "tool", "done"]
        done = events[-1][1]
        assert done["status"] == "requires_action"
        assert [each["id"] for each in done["tool_calls"]] == ["call_2"]


async def test_an_approved_call_is_carried_out_once_with_its_own_arguments(before, counted):
    model = ScriptedOpenAI([call("guarded", 7)], [message("done")])
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        client = service.client
        asked = (await client.post("chat", json={"message": "hi"})).json()
        assert asked["tool_calls"] == [
            {"id": "call_7", "name": "guarded", "arguments": '{"x": 7}', "approval": "required"}
        ]
        assert counted() == 0
        body = {
            "thread_id": asked["thread_id"],
            "run_id": asked["run_id"],
            "tool_outputs": [{"tool_call_id": "call_7", "output": "approve"}],
        }
        answer = (await client.post("chat", json=body)).json()
        assert (answer["message"], counted()) == ("done", 1)
        assert model.sent[1]["input"][0]["output"] == "guarded 7"
        again = await client.post("chat", json=body)
        assert (again.status_code, counted()) == (400, 1)


async def test_a_call_of_what_was_not_offered_is_not_carried_out(before, counted):
    model = ScriptedOpenAI([call("ours", 1)], [message("done")])
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        client = service.client
        run = await new_run(client, await new_thread(client, "hi"), tools=[THEIRS])
        await run_to(client, run, "completed")
    assert counted() == 0
    assert model.sent[1]["input"][0]["output"] == "There is no tool of this name."


async def test_after_the_last_round_the_model_is_told_to_answer(before, counted):
    rounds = [[call("ours", number)] for number in range(1, 4)]
    model = ScriptedOpenAI(*rounds, [message("done")])
    async with fake_upstream(model.handle) as upstream, before(upstream, tools_max_rounds=3) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], counted()) == ("done", 3)
    assert [body.get("tool_choice") for body in model.sent] == [None, None, None, "none"]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_model_that_never_answers_fails_the_run(before, counted, is_streamed):
    model = ScriptedOpenAI(*[[call("ours", number)] for number in range(1, 9)], [message("next")])
    async with fake_upstream(model.handle) as upstream, before(upstream, tools_max_rounds=2) as service:
        body = {"message": "hi", "stream": is_streamed}
        response = await service.client.post("chat", json=body)
        assert "error" in response.text
        assert counted() == 2
        assert len(model.sent) == 3


@pytest.mark.parametrize(("shows", "given"), [("full", '{"x": 1}'), ("names", "{}"), ("none", None)])
async def test_browsers_see_what_the_operator_allows(before, shows, given):
    again = call("ours", 2, x=1)
    model = ScriptedOpenAI([call("ours", 1)], [message("done")], [again], [message("done")])
    keys = {
        "auth_mode": "api_key",
        "api_keys": {"a": ["a-key-of-many-characters"]},
        "secret_keys": ["s" * 32],
    }
    async with (
        fake_upstream(model.handle) as upstream,
        before(upstream, tools_visible=shows, **keys) as service,
    ):
        client, trusted = service.client, {"authorization": "Bearer a-key-of-many-characters"}
        minted = await client.post("sessions", json={"user": "u"}, headers=trusted)
        session = {"authorization": f"Bearer {minted.json()['client_secret']}"}
        body = {"message": "hi", "stream": True}
        for headers, seen in ((session, given), (trusted, '{"x": 1}')):
            events = frames((await client.post("chat", json=body, headers=headers)).text)
            tools = [data for name, data in events if name == "tool"]
            assert [json.dumps(data["input"]) for data in tools[:1]] == ([seen] if seen else [])
            assert ("output" in tools[-1] if tools else False) == (seen == '{"x": 1}')


async def test_the_deadline_ends_the_calls(before, counted):
    model = ScriptedOpenAI([call("slow", 1)], [message("next")])
    async with fake_upstream(model.handle) as upstream, before(upstream, run_expires_seconds=0.5) as service:
        client = service.client
        run = await new_run(client, await new_thread(client, "hi"))
        await run_to(client, run, "expired")
        assert counted() == 1


async def test_a_second_turn_waits_for_the_calls_of_the_first(before, counted):
    model = ScriptedOpenAI([call("slow", 1)], [message("next")])
    async with fake_upstream(model.handle) as upstream, before(upstream, lock_wait_seconds=0.2) as service:
        client = service.client
        run = await new_run(client, await new_thread(client, "hi"))
        await until(counted)
        body = {"message": "me too", "thread_id": run["thread_id"]}
        response = await client.post("chat", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "thread_busy")
        await client.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel")
        await run_to(client, run, "cancelled")
        assert (await client.post("chat", json=body)).json()["message"] == "next"


@pytest.mark.needs_redis
async def test_other_replicas_see_it_in_progress_and_can_cancel_it(before, counted, tmp_path):
    from tests.security.redis_server import redis_server

    model = ScriptedOpenAI([call("slow", 1)], [message("next")])
    async with redis_server(tmp_path) as redis, fake_upstream(model.handle) as upstream:
        settings = {"rate_limit_storage": redis.url}
        async with before(upstream, **settings) as one, before(upstream, **settings) as two:
            run = await new_run(one.client, await new_thread(one.client, "hi"))
            await until(counted)
            path = f"threads/{run['thread_id']}/runs/{run['id']}"
            assert (await two.client.get(path)).json()["status"] == "in_progress"
            assert (await two.client.post(f"{path}/cancel")).status_code == 200
            await run_to(two.client, run, "cancelled")


async def test_a_run_whose_replica_died_is_expired_and_its_thread_goes_on(before, counted):
    model = ScriptedOpenAI([call("slow", 1)], [message("next")])
    async with fake_upstream(model.handle) as upstream, before(upstream) as survivor:
        async with before(upstream, shutdown_grace_seconds=0.1) as dying:
            run = await new_run(dying.client, await new_thread(dying.client, "hi"))
            await until(counted)
            # As if it had been killed: it closes nothing behind it.
            upstream.handler, handler = _refuses, upstream.handler
        upstream.handler = handler
        client = survivor.client
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        assert (await client.get(path)).json()["status"] == "expired"
        chat = await client.post("chat", json={"message": "on", "thread_id": run["thread_id"]})
        assert chat.json()["message"] == "next"
        assert chat.headers["x-unanswered-tool-calls"] == "call_1"


async def _refuses(request, connection):
    await connection.answer(503, {"error": {"message": "away"}})


async def test_one_thousand_calls_leave_no_task(before, counted):
    model = ScriptedOpenAI(
        *[item for number in range(40) for item in ([call("ours", number)], [message("ok")])]
    )
    async with fake_upstream(model.handle) as upstream, before(upstream) as service:
        for _ in range(40):
            await service.client.post("chat", json={"message": "hi"})
        await until(
            lambda: not [task for task in asyncio.all_tasks() if "carried_out" in repr(task.get_coro())]
        )
    assert counted() == 40


async def test_the_assistant_lists_the_tools(before):
    async with fake_upstream(ScriptedOpenAI().handle) as upstream, before(upstream) as service:
        found = (await service.client.get(f"assistants/{ASSISTANT}")).json()["tools"]
        assert {tool["function"]["name"] for tool in found} == {
            "theirs",
            "ours",
            "slow",
            "guarded",
            "guarded_slow",
        }


async def test_tools_are_told_whom_they_are_called_for(start, tmp_path):
    path = tmp_path / "who_tools.py"
    path.write_text(
        "from app.tools import tool, Caller\n\n"
        "@tool\n"
        "def who(caller: Caller) -> str:\n"
        "    'Who.'\n"
        "    tenant = caller.claims['tenant']\n"
        "    return f'{caller.user_id} of {tenant} in {caller.thread_id} for {caller.run_id}'\n"
    )
    model = ScriptedOpenAI([call("who", 1)], [message("done")])
    keys = {
        "auth_mode": "api_key",
        "api_keys": {"a": ["a-key-of-many-characters"]},
        "secret_keys": ["s" * 32],
    }
    model.outputs = iter([[call("who", 1) | {"arguments": "{}"}], [message("done")]])
    async with (
        fake_upstream(model.handle) as upstream,
        start(
            url=upstream.url, is_served=True, assistant_tools=[], tools_module=str(path), **keys
        ) as service,
    ):
        trusted = {"authorization": "Bearer a-key-of-many-characters"}
        asked = {"user": "u-1", "claims": {"tenant": "north"}}
        minted = (await service.client.post("sessions", json=asked, headers=trusted)).json()
        session = {"authorization": f"Bearer {minted['client_secret']}"}
        answer = (await service.client.post("chat", json={"message": "hi"}, headers=session)).json()
    said = model.sent[1]["input"][0]["output"]
    assert said == f"u-1 of north in {answer['thread_id']} for {answer['run_id']}"
