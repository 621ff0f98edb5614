"""Runs with several rounds of tool calls: cancelled, answered twice, and told whole afterwards."""

import asyncio

import pytest

from tests.support import finished_run, frames, names, run_to


def path_of(run):
    return f"threads/{run['thread_id']}/runs/{run['id']}"


async def answer(client, run, **body):
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
    return await client.post(f"{path_of(run)}/submit_tool_outputs", json={"tool_outputs": outputs, **body})


async def test_a_run_cancelled_in_its_second_round_keeps_both(live):
    run = await finished_run(live, "rounds:3", "requires_action")
    second = await run_to(live, (await answer(live, run)).json(), "requires_action")
    assert (await live.post(f"{path_of(run)}/cancel")).json()["status"] == "cancelled"
    found = (await live.get(path_of(run))).json()
    assert (found["status"], found["id"], found["required_action"]) == ("cancelled", run["id"], None)
    assert found["usage"]["total_tokens"] > 0
    steps = (await live.get(f"{path_of(run)}/steps", params={"order": "asc"})).json()["data"]
    assert [step["status"] for step in steps] == ["completed", "cancelled"]
    called = [step["step_details"]["tool_calls"][0]["id"] for step in steps]
    waited = second["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    assert called[1] == waited != called[0]
    told = frames((await live.get(f"{path_of(run)}/events")).text)
    assert names(told)[-2:] == ["thread.run.cancelled", "done"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_outputs_sent_twice_at_once_go_on_once(live, is_stream):
    run = await finished_run(live, "tool: weather", "requires_action")
    both = await asyncio.gather(answer(live, run, stream=is_stream), answer(live, run, stream=is_stream))
    assert sorted(response.status_code for response in both) == [200, 400]
    refused = next(response for response in both if response.status_code == 400)
    assert refused.json()["error"]["code"] == "run_not_waiting"
    await run_to(live, (await live.get(path_of(run))).json(), "completed")
    messages = (await live.get(f"threads/{run['thread_id']}/messages")).json()["data"]
    assert [message["role"] for message in messages] == ["assistant", "user"]
