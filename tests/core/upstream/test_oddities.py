"""What some upstreams send otherwise than OpenAI, though it is plain what they mean: no failure of a run."""

import json

import pytest

from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import ASSISTANT, WEATHER

MILLISECONDS = 1_790_000_000_123


class Odd(ScriptedOpenAI):
    """An upstream whose responses and conversations have `changes`."""

    def __init__(self, changes, *outputs):
        super().__init__(*outputs)
        self.changes = changes

    def _conversation(self):
        return {**super()._conversation(), **self.changes}

    async def _stream(self, response, connection):
        response.update(self.changes)
        await super()._stream(response, connection)


async def thread_run(start, script, **body):
    """The thread and the run as they read after one turn, and the run's stream."""
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        thread = (await service.client.post("threads", json={})).json()
        path = f"threads/{thread['id']}"
        body = {"assistant_id": ASSISTANT, "stream": True, **body}
        added = {"additional_messages": [{"role": "user", "content": "hi"}]}
        told = (await service.client.post(f"{path}/runs", json=body | added)).text
        run_id = next(iter(script.responses))
        run = await service.client.get(f"{path}/runs/run_{run_id.removeprefix('resp_')}")
        return (await service.client.get(path)).json(), run.json(), told


async def test_metadata_is_shown_as_texts(start):
    metadata = {"a": None, "n": 5, "f": 1.5, "b": True, "o": {"x": [1]}, "t": "text"}
    thread, run, told = await thread_run(start, Odd({"metadata": metadata}, [message("Hello.")]))
    wanted = {"n": "5", "f": "1.5", "b": "true", "o": '{"x": [1]}', "t": "text"}
    assert (thread["metadata"], run["metadata"]) == (wanted, wanted)
    assert "event: thread.run.completed\n" in told


async def test_times_that_are_no_seconds_are_unknown(start):
    changes = {"created_at": MILLISECONDS, "completed_at": MILLISECONDS}
    thread, run, told = await thread_run(start, Odd(changes, [message("Hello.")]))
    assert (thread["created_at"], run["status"]) == (0, "completed")
    assert run["created_at"] < MILLISECONDS > run["completed_at"]
    assert str(MILLISECONDS) not in told


@pytest.mark.parametrize(
    ("call", "call_id", "arguments"),
    [
        ({"id": "fc_1", "call_id": None, "arguments": "{}"}, "fc_1", {}),
        ({"id": "fc_1", "arguments": "{}"}, "fc_1", {}),
        ({"id": "fc_1", "call_id": "call_1", "arguments": {"city": "Köln"}}, "call_1", {"city": "Köln"}),
    ],
)
async def test_a_call_with_an_odd_form_is_asked_for(start, call, call_id, arguments):
    item = {"type": "function_call", "name": "get_weather", "status": "completed", **call}
    script = Odd({}, [item])
    _, run, told = await thread_run(start, script, tools=[WEATHER])
    assert "event: thread.run.requires_action\n" in told
    asked = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [each["id"] for each in asked] == [call_id]
    assert json.loads(asked[0]["function"]["arguments"]) == arguments
