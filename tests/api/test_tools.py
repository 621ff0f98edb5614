"""Tool calls over their whole life: asked for, answered over several rounds, refused, left behind."""

import pytest

from tests.api.test_streams import START, STEP, data_of, streamed
from tests.support import (
    WEATHER,
    error_of,
    finished_run,
    frames,
    names,
    new_run,
    new_thread,
    run_to,
    text_of,
)

ASKED = [*START, *STEP, "thread.run.step.delta", "thread.run.requires_action", "done"]
CONTINUED = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
ANSWERED = [
    *STEP,
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
    "done",
]


def calls_of(run):
    return run["required_action"]["submit_tool_outputs"]["tool_calls"]


def outputs_for(run, output="sunny"):
    return [{"tool_call_id": call["id"], "output": output} for call in calls_of(run)]


async def waiting_run(client, prompt="use the tool", **body):
    run = await new_run(client, await new_thread(client, prompt), **body)
    return await run_to(client, run, "requires_action")


def path_of(run, action="submit_tool_outputs"):
    return f"threads/{run['thread_id']}/runs/{run['id']}/{action}"


async def submit(client, run, outputs, **body):
    return await client.post(path_of(run), json={"tool_outputs": outputs, **body})


class TestStreamed:
    async def test_one_call_and_its_answer(self, either):
        thread_id = await new_thread(either, "use the tool")
        events = frames((await streamed(either, thread_id)).text)
        assert names(events) == ASKED
        run = data_of(events, "thread.run.requires_action")[0]
        call = calls_of(run)[0]
        deltas = [
            data["delta"]["step_details"]["tool_calls"][0]
            for data in data_of(events, "thread.run.step.delta")
        ]
        assert deltas[0] == {
            "index": 0,
            "id": call["id"],
            "type": "function",
            "function": {"name": "get_weather", "output": None, "arguments": ""},
        }
        assert all("id" not in delta and "name" not in delta["function"] for delta in deltas[1:])
        arguments = "".join(delta["function"]["arguments"] for delta in deltas)
        assert arguments == call["function"]["arguments"]
        answer = await submit(either, run, outputs_for(run), stream=True)
        events = frames(answer.text)
        assert names(events) == [*CONTINUED, *ANSWERED]
        assert text_of(events) == "The tool answered: sunny"
        step = events[0][1]
        assert step["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
        assert {
            data["id"] for name, data in events if name.startswith("thread.run.") and "step" not in name
        } == {run["id"]}

    async def test_two_calls_at_once_are_one_step(self, live):
        thread_id = await new_thread(live, "use the tools")
        events = frames((await streamed(live, thread_id)).text)
        assert names(events) == ASKED
        indexes = [
            data["delta"]["step_details"]["tool_calls"][0]["index"]
            for data in data_of(events, "thread.run.step.delta")
        ]
        assert indexes == sorted(indexes)
        assert set(indexes) == {0, 1}
        run = data_of(events, "thread.run.requires_action")[0]
        first, second = outputs_for(run)
        outputs = [{**second, "output": "rain"}, first]
        events = frames((await submit(live, run, outputs, stream=True)).text)
        assert names(events) == [*CONTINUED, *ANSWERED]
        step = events[0][1]
        assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == [
            "sunny",
            "rain",
        ]

    async def test_a_run_keeps_its_id_over_all_rounds(self, live):
        thread_id = await new_thread(live, "rounds:3 please")
        events = frames((await streamed(live, thread_id)).text)
        run = data_of(events, "thread.run.requires_action")[0]
        usages = []
        for left in (2, 1, 0):
            events = frames((await submit(live, run, outputs_for(run), stream=True)).text)
            assert names(events)[:3] == CONTINUED
            ending = "thread.run.requires_action" if left else "thread.run.completed"
            after = data_of(events, ending)[0]
            assert after["id"] == run["id"]
            assert after["created_at"] == run["created_at"]
            run = after
        usages.append(run["usage"]["completion_tokens"])
        steps = (await live.get(path_of(run, "steps"), params={"order": "asc"})).json()["data"]
        kinds = [step["type"] for step in steps]
        assert kinds == ["tool_calls", "tool_calls", "tool_calls", "message_creation"]
        assert all(step["run_id"] == run["id"] for step in steps)
        assert [step["status"] for step in steps] == ["completed"] * 4
        listed = (await live.get(f"threads/{thread_id}/runs")).json()["data"]
        assert [found["id"] for found in listed] == [run["id"]]
        messages = (await live.get(f"threads/{thread_id}/messages")).json()["data"]
        assert messages[0]["run_id"] == run["id"]


class TestPolled:
    async def test_a_submitted_run_goes_on_in_the_background(self, client):
        run = await waiting_run(client)
        assert run["usage"] is None
        assert run["expires_at"] > run["created_at"]
        after = (await submit(client, run, outputs_for(run))).json()
        assert after["id"] == run["id"]
        done = await run_to(client, after, "completed")
        assert done["required_action"] is None
        assert done["usage"]["total_tokens"] > 0

    async def test_what_the_run_overrode_holds_in_later_rounds(self, client):
        other = {**WEATHER, "function": {**WEATHER["function"], "name": "get_tide"}}
        body = {"tools": [other], "temperature": 0.5, "instructions": "Be brief.", "metadata": {"a": "b"}}
        run = await waiting_run(client, "rounds:2", **body)
        after = (await submit(client, run, outputs_for(run))).json()
        found = await run_to(client, after, "requires_action")
        assert calls_of(found)[0]["function"]["name"] == "get_tide"
        assert found["temperature"] == 0.5
        assert found["instructions"] == "Be brief."
        assert found["metadata"] == {"a": "b"}

    async def test_a_forced_call_is_forced_once(self, client):
        choice = {"type": "function", "function": {"name": "get_weather"}}
        run = await waiting_run(client, "hello", tool_choice=choice)
        after = (await submit(client, run, outputs_for(run))).json()
        await run_to(client, after, "completed")


class TestRefused:
    async def test_an_unknown_call_is_named(self, client):
        run = await waiting_run(client)
        outputs = [*outputs_for(run), {"tool_call_id": "call_unknown", "output": "x"}]
        error = error_of(await submit(client, run, outputs), 400)
        assert (error["code"], error["param"]) == ("unknown_tool_call", "tool_outputs")
        assert "call_unknown" in error["message"]

    async def test_a_missing_output_is_named(self, client):
        run = await waiting_run(client, "use the tools")
        first, second = outputs_for(run)
        error = error_of(await submit(client, run, [first]), 400)
        assert (error["code"], error["param"]) == ("missing_tool_output", "tool_outputs")
        assert second["tool_call_id"] in error["message"]
        assert first["tool_call_id"] not in error["message"]

    async def test_two_outputs_for_one_call(self, client):
        run = await waiting_run(client)
        error = error_of(await submit(client, run, outputs_for(run) * 2), 400)
        assert error["param"] == "tool_outputs"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_run_that_waits_for_nothing(self, client, stream):
        run = await finished_run(client, "hi")
        outputs = [{"tool_call_id": "call_1", "output": "x"}]
        error = error_of(await submit(client, run, outputs, stream=stream), 400)
        assert (error["code"], error["param"]) == ("run_not_waiting", "run_id")

    async def test_outputs_that_were_given_already(self, client):
        run = await waiting_run(client)
        outputs = outputs_for(run)
        await run_to(client, (await submit(client, run, outputs)).json(), "completed")
        assert error_of(await submit(client, run, outputs), 400)["code"] == "run_not_waiting"


class TestLeftBehind:
    async def test_the_next_turn_answers_open_calls_and_says_so(self, client):
        run = await waiting_run(client)
        call_id = calls_of(run)[0]["id"]
        answer = await client.post("chat", json={"message": "hello", "thread_id": run["thread_id"]})
        assert answer.status_code == 200
        assert answer.headers["x-unanswered-tool-calls"] == call_id
        assert answer.json()["message"] == "You said: hello"
        found = (await client.get(f"threads/{run['thread_id']}/runs/{run['id']}")).json()
        assert found["status"] == "expired"
        assert error_of(await submit(client, run, outputs_for(run)), 400)["code"] == "run_not_waiting"

    async def test_a_streamed_run_says_so_too(self, either):
        run = await waiting_run(either, "use the tools")
        more = [{"role": "user", "content": "hello"}]
        response = await streamed(either, run["thread_id"], additional_messages=more)
        header = response.headers["x-unanswered-tool-calls"].split(", ")
        assert set(header) == {call["id"] for call in calls_of(run)}
        assert text_of(frames(response.text)) == "You said: hello"

    async def test_a_thread_without_open_calls_has_no_such_header(self, client):
        answer = await client.post("chat", json={"message": "hello"})
        assert "x-unanswered-tool-calls" not in answer.headers

    async def test_a_waiting_run_can_be_cancelled_and_its_thread_goes_on(self, client):
        run = await waiting_run(client)
        cancelled = (await client.post(path_of(run, "cancel"))).json()
        assert cancelled["status"] == "cancelled"
        assert (await run_to(client, run | {"status": "queued"}, "cancelled"))["required_action"] is None
        answer = await client.post("chat", json={"message": "hello", "thread_id": run["thread_id"]})
        assert answer.json()["message"] == "You said: hello"
        assert "x-unanswered-tool-calls" not in answer.headers

    async def test_a_run_that_waited_beyond_its_deadline_is_expired(self, start, upstream):
        async with start(url=upstream, run_expires_seconds=0.01) as service:
            run = await new_run(service.client, await new_thread(service.client, "use the tool"))
            found = await run_to(service.client, run, "expired")
            outputs = [{"tool_call_id": "call_1", "output": "x"}]
            assert error_of(await submit(service.client, found, outputs), 400)["code"] == "run_not_waiting"


class TestChat:
    async def test_a_chat_names_its_calls_and_goes_on_by_the_same_route(self, client):
        asked = (await client.post("chat", json={"message": "use the tool"})).json()
        assert asked["status"] == "requires_action"
        assert asked["message"] == ""
        call = asked["tool_calls"][0]
        assert call.keys() == {"id", "name", "arguments"}
        body = {
            "thread_id": asked["thread_id"],
            "run_id": asked["run_id"],
            "tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}],
        }
        answered = (await client.post("chat", json=body)).json()
        assert answered["message"] == "The tool answered: sunny"
        assert answered["run_id"] == asked["run_id"]
        assert answered["status"] == "completed"
        assert "tool_calls" not in answered

    async def test_a_streamed_chat_goes_on_too(self, live):
        asked = frames((await live.post("chat", json={"message": "use the tool", "stream": True})).text)
        assert names(asked) == ["thread", "done"]
        done = asked[-1][1]
        body = {
            "thread_id": done["thread_id"],
            "run_id": done["run_id"],
            "tool_outputs": [{"tool_call_id": done["tool_calls"][0]["id"], "output": "sunny"}],
            "stream": True,
        }
        events = frames((await live.post("chat", json=body)).text)
        assert names(events) == ["thread", "delta", "done"]
        assert events[0][1]["run_id"] == done["run_id"]
        assert events[-1][1]["message"] == "The tool answered: sunny"
