"""Runs whose calls the service carries out itself, over every surface."""

import asyncio
import json

import pytest

from tests.support import (
    ASSISTANT,
    WEATHER,
    embedded_upstream,
    error_of,
    finished_run,
    frames,
    ids,
    is_idle,
    names,
    new_run,
    new_thread,
    run_to,
    text_of,
    until,
)

TOOLS = '''
import asyncio
from app.tools import tool, Caller

seen = []
gate = asyncio.Event()

@tool
async def get_weather(city: str, caller: Caller) -> dict:
    """Tells the weather."""
    seen.append((city, caller))
    return {"city": city, "sky": "clear"}

@tool
async def wait_for_it(city: str) -> str:
    """Takes its time."""
    seen.append(("waits", city))
    await gate.wait()
    return "done"

@tool(approval="always")
def drop_table(name: str) -> str:
    """Drops a table."""
    seen.append(("dropped", name))
    return f"dropped {name}"

@tool
def fail(city: str) -> str:
    """Fails."""
    raise RuntimeError("a secret")
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "my_tools.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
async def upstream():
    async with embedded_upstream() as url:
        yield url


@pytest.fixture
async def service(start, upstream, module):
    async with start(
        url=upstream, is_served=True, tools_module=str(module), assistant_tools=[], tool_timeout_seconds=30
    ) as service:
        yield service


@pytest.fixture
def live(service):
    return service.client


def offered(name):
    """Overrides that offer one function alone, as the scripted model calls the first."""
    spec = json.loads(json.dumps(WEATHER))
    spec["function"]["name"] = name
    return {"tools": [spec]}


class TestChat:
    async def test_a_json_chat_answers_with_the_tool_used(self, live):
        response = await live.post("chat", json={"message": "call a tool"})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["status"] == "completed"
        assert answer["message"].startswith("The tool answered: ")
        assert '"sky": "clear"' in answer["message"]
        assert answer["usage"]["prompt_tokens"] > 0
        after = await live.post("chat", json={"message": "next", "thread_id": answer["thread_id"]})
        assert after.json()["message"] == "You said: next"

    async def test_a_stream_tells_each_call_and_its_result(self, live):
        response = await live.post("chat", json={"message": "call a tool", "stream": True})
        events = frames(response.text)
        assert names(events) == ["thread", "tool", "tool", "delta", "done"]
        begun, ended = (data for name, data in events if name == "tool")
        assert (begun["name"], begun["status"], ended["status"]) == (
            "get_weather",
            "in_progress",
            "completed",
        )
        assert begun["id"] == ended["id"]
        assert begun["input"].keys() == {"city"}
        assert json.loads(ended["output"]["output"])["sky"] == "clear"
        text = "".join(data["text"] for name, data in events if name == "delta")
        assert events[-1][1]["message"] == text
        assert events[-1][1]["run_id"] == events[0][1]["run_id"]

    async def test_a_client_that_follows_again_says_where_it_was(self, live):
        body = {"message": "call a tool", "stream": True, "on_disconnect": "detach"}
        text = (await live.post("chat", json=body)).text
        done = frames(text)[-1][1]
        numbers = ids(text)
        assert numbers == sorted(numbers)
        assert numbers[-1] > 1_000_000
        path = f"threads/{done['thread_id']}/runs/{done['run_id']}/events"
        for after, wanted in ((numbers[-2], 1), (numbers[0], None)):
            again = await live.get(path, params={"starting_after": after})
            told = [data for name, data in frames(again.text) if name == "thread.message.delta"]
            assert (len(told) <= wanted) if wanted is not None else told

    async def test_several_calls_at_once(self, live):
        events = frames((await live.post("chat", json={"message": "parallel tools", "stream": True})).text)
        assert [data["status"] for name, data in events if name == "tool"] == [
            "in_progress",
            "in_progress",
            "completed",
            "completed",
        ]


class TestRuns:
    async def test_a_stream_is_one_run_with_a_finished_step(self, live):
        thread_id = await new_thread(live, "call a tool")
        body = {"assistant_id": ASSISTANT, "stream": True}
        events = frames((await live.post(f"threads/{thread_id}/runs", json=body)).text)
        assert names(events) == [
            "thread.run.created",
            "thread.run.queued",
            "thread.run.in_progress",
            "thread.run.step.created",
            "thread.run.step.in_progress",
            "thread.run.step.delta",
            "thread.run.step.completed",
            "thread.run.step.created",
            "thread.run.step.in_progress",
            "thread.message.created",
            "thread.message.in_progress",
            "thread.message.delta",
            "thread.message.completed",
            "thread.run.step.completed",
            "thread.run.completed",
            "done",
        ]
        step = next(data for name, data in events if name == "thread.run.step.completed")
        (call,) = step["step_details"]["tool_calls"]
        assert json.loads(call["function"]["output"])["sky"] == "clear"
        assert text_of(events).startswith("The tool answered: ")
        runs = {data["id"] for name, data in events if name.startswith("thread.run.") and "step" not in name}
        assert len(runs) == 1

    async def test_a_polled_run_goes_on_by_itself(self, live):
        run = await finished_run(live, "call a tool")
        path = f"threads/{run['thread_id']}"
        assert run["required_action"] is None
        assert run["usage"]["prompt_tokens"] > 0
        steps = (await live.get(f"{path}/runs/{run['id']}/steps?order=asc")).json()["data"]
        assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
        assert json.loads(steps[0]["step_details"]["tool_calls"][0]["function"]["output"])["sky"] == "clear"
        messages = (await live.get(f"{path}/messages")).json()["data"]
        assert [message["run_id"] for message in messages if message["role"] == "assistant"] == [run["id"]]

    async def test_it_is_in_progress_while_a_tool_works_and_can_be_cancelled(self, live, upstream):
        run = await new_run(live, await new_thread(live, "call a tool"), **offered("wait_for_it"))
        path = f"threads/{run['thread_id']}/runs/{run['id']}"

        async def has_called():
            steps = (await live.get(f"{path}/steps")).json()["data"]
            return bool(steps)

        await until(has_called)
        found = (await live.get(path)).json()
        assert (found["status"], found["required_action"]) == ("in_progress", None)
        cancelled = await live.post(f"{path}/cancel")
        assert cancelled.status_code == 200, cancelled.text
        await run_to(live, run, "cancelled")
        chat = await live.post("chat", json={"message": "next", "thread_id": run["thread_id"]})
        assert chat.json()["message"] == "You said: next"
        await until(lambda: is_idle(upstream))

    async def test_a_failing_tool_does_not_fail_the_run(self, live):
        run = await finished_run(live, "call a tool", **offered("fail"))
        messages = (await live.get(f"threads/{run['thread_id']}/messages")).json()["data"]
        text = messages[0]["content"][0]["text"]["value"]
        assert text == "The tool answered: The tool failed."

    async def test_a_call_of_the_clients_still_waits_for_it(self, live):
        run = await finished_run(live, "call a tool", "requires_action", **offered("theirs"))
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert call["function"]["name"] == "theirs"
        assert "approval" not in call
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "42"}]}
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        answered = (await live.post(f"{path}/submit_tool_outputs", json=outputs)).json()
        await run_to(live, answered, "completed")


class TestApproval:
    async def _waiting(self, live):
        return await finished_run(live, "call a tool", "requires_action", **offered("drop_table"))

    async def test_a_call_waits_until_it_is_approved(self, live):
        run = await self._waiting(live)
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert call["approval"] == "required"
        assert json.loads(call["function"]["arguments"])
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "approve"}]}
        answered = (await live.post(f"{path}/submit_tool_outputs", json=outputs)).json()
        await run_to(live, answered, "completed")
        messages = (await live.get(f"threads/{run['thread_id']}/messages")).json()["data"]
        assert "dropped" in messages[0]["content"][0]["text"]["value"] or "arguments" in str(messages[0])

    async def test_a_denial_is_what_the_model_sees(self, live):
        run = await self._waiting(live)
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "deny"}]}
        answered = (await live.post(f"{path}/submit_tool_outputs", json=outputs)).json()
        await run_to(live, answered, "completed")
        messages = (await live.get(f"threads/{run['thread_id']}/messages")).json()["data"]
        assert messages[0]["content"][0]["text"]["value"] == (
            "The tool answered: The user did not allow this call."
        )

    async def test_another_output_is_refused(self, live):
        run = await self._waiting(live)
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "dropped it myself"}]}
        error = error_of(await live.post(f"{path}/submit_tool_outputs", json=outputs), 400)
        assert (error["code"], error["param"]) == ("invalid_approval", "tool_outputs")


async def test_a_client_that_leaves_stops_the_calls(live, upstream):
    thread_id = await new_thread(live, "call a tool")
    body = {"assistant_id": ASSISTANT, "stream": True, "on_disconnect": "cancel", **offered("wait_for_it")}
    async with live.stream("POST", f"threads/{thread_id}/runs", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("event: thread.run.step.in_progress"):
                break

    async def goes_on():
        chat = await live.post("chat", json={"message": "next", "thread_id": thread_id})
        return chat.status_code == 200 and chat.json()["message"] == "You said: next"

    await until(goes_on)
    await asyncio.sleep(0)
    await until(lambda: is_idle(upstream))
