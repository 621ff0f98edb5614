"""What upstreams only tell if they are asked: the output of code, and what file searches found."""

import httpx2
import orjson
import pytest

from tests.fake_upstream import Connection, Request, fake_upstream, pass_on
from tests.support import ASSISTANT, error_of, finished_run, frames, new_thread

BOTH = [{"type": "code_interpreter"}, {"type": "file_search"}]
RESULTS = "step_details.tool_calls[*].file_search.results[*].content"
TEXT = b"The red button stops the pump."
LOGS = [{"type": "logs", "logs": "chart.png: 2 bars\n"}]


@pytest.fixture
async def recorded(upstream):
    """The scripted upstream behind one that records every request."""

    async def handle(request: Request, connection: Connection) -> None:
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as found:
        yield found


@pytest.fixture
async def client(start, recorded):
    async with start(url=recorded.url, assistant_tools=BOTH) as service:
        yield service.client


@pytest.fixture
async def searching(client, upstream):
    """Stream a run that searches a file: the path of its steps, and the results in its stream."""

    async def run(**query):
        async with httpx2.AsyncClient() as direct:
            file, purpose = {"file": ("manual.txt", TEXT)}, {"purpose": "user_data"}
            uploaded = await direct.post(f"{upstream}/files", files=file, data=purpose)
            file_id = uploaded.json()["id"]
        attachment = {"file_id": file_id, "tools": [{"type": "file_search"}]}
        message = {"role": "user", "content": "cite: red button", "attachments": [attachment]}
        body = {"assistant_id": ASSISTANT, "stream": True, "thread": {"messages": [message]}}
        events = frames((await client.post("threads/runs", json=body, params=query)).text)
        ended = next(data for name, data in events if name == "thread.run.completed")
        streamed = [data for name, data in events if name == "thread.run.step.completed"]
        return f"threads/{ended['thread_id']}/runs/{ended['id']}/steps", results_of(streamed)

    return run


def includes(recorded):
    """The `include` of every new response, None where there is none."""
    bodies = [orjson.loads(r.body) for r in recorded.requests if r.path == "/v1/responses"]
    return [body.get("include") for body in bodies]


def calls_of(steps):
    return [call for step in steps for call in step["step_details"].get("tool_calls", [])]


def results_of(steps):
    (call,) = [call for call in calls_of(steps) if call["type"] == "file_search"]
    return [part["text"] for result in call["file_search"]["results"] for part in result["content"]]


async def steps_of(client, path, **query):
    return (await client.get(path, params=query)).json()["data"]


async def test_the_output_of_code_is_in_the_steps(client, recorded):
    run = await finished_run(client, "chart: a 1 b 2")
    assert includes(recorded) == [["code_interpreter_call.outputs"]]
    path = f"threads/{run['thread_id']}/runs/{run['id']}/steps"
    steps = await steps_of(client, path)
    (call,) = calls_of(steps)
    assert call["code_interpreter"]["outputs"] == LOGS
    (step,) = [step for step in steps if step["type"] == "tool_calls"]
    assert (await client.get(f"{path}/{step['id']}")).json() == step


async def test_chats_ask_for_the_output_of_code_too(client, recorded):
    await client.post("chat", json={"message": "chart: a 1 b 2"})
    assert includes(recorded) == [["code_interpreter_call.outputs"]]


async def test_nothing_is_asked_for_without_the_tool(start, recorded):
    async with start(url=recorded.url) as service:
        await service.client.post("chat", json={"message": "hello"})
        path = f"threads/{await new_thread(service.client, 'hello')}/runs"
        await service.client.post(path, json={"assistant_id": ASSISTANT}, params={"include[]": RESULTS})
        run = {"assistant_id": ASSISTANT, "tools": [{"type": "code_interpreter"}]}
        await service.client.post(path, json=run)
    assert includes(recorded) == [None, None, ["code_interpreter_call.outputs"]]


@pytest.mark.parametrize("name", ["include[]", "include"])
async def test_search_results_are_shown_where_they_are_asked_for(client, recorded, searching, name):
    path, streamed = await searching()
    assert streamed == []
    assert results_of(await steps_of(client, path)) == []
    steps = await steps_of(client, path, **{name: RESULTS})
    assert results_of(steps) == [TEXT.decode()]
    step = next(step for step in steps if step["type"] == "tool_calls")
    found = (await client.get(f"{path}/{step['id']}", params={name: RESULTS})).json()
    assert found == step
    path, streamed = await searching(**{name: RESULTS})
    assert streamed == [TEXT.decode()]
    both = ["code_interpreter_call.outputs", "file_search_call.results"]
    assert includes(recorded) == [both[:1], both]


async def test_an_unknown_value_is_named_or_refused(client, start, upstream, searching):
    path, _ = await searching()
    thread_id = path.split("/")[1]
    run = {"assistant_id": ASSISTANT, "additional_messages": [{"role": "user", "content": "hello"}]}
    for response in (
        await client.get(path, params={"include[]": [RESULTS, "other"]}),
        await client.post(f"threads/{thread_id}/runs", json=run, params={"include[]": "other"}),
    ):
        assert (response.status_code, response.headers["x-ignored-params"]) == (200, "include[]")
    async with start(url=upstream, unsupported_params="strict") as service:
        error = error_of(await service.client.get(path, params={"include[]": "other"}), 400)
        assert (error["param"], error["code"]) == ("include[]", "unsupported_parameter")


async def test_outputs_of_tools_ask_for_search_results_too(start, recorded):
    tools = [*BOTH, {"type": "function", "function": {"name": "get_weather"}}]
    async with start(url=recorded.url, assistant_tools=tools) as service:
        run = await finished_run(service.client, "use the tool", "requires_action")
        call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
        path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        body = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}]}
        response = await service.client.post(path, json=body, params={"include[]": RESULTS})
        assert response.status_code == 200
    assert includes(recorded)[1] == ["code_interpreter_call.outputs", "file_search_call.results"]
