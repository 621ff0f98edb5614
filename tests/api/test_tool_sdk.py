"""The unmodified SDK's tool helpers: the service runs the functions, the client does, or both do."""

import pytest
from openai import AsyncAssistantEventHandler, AsyncOpenAI

from tests.api.scripted_tools import call
from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import ASSISTANT

pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated")
OURS, THEIRS = call("ours", 1), call("theirs", 2)
ROUNDS = [
    pytest.param([[OURS]], [["ours 1"]], 1, id="ours"),
    pytest.param([[THEIRS]], [["theirs"]], 0, id="theirs"),
    pytest.param([[OURS, THEIRS]], [["ours 1", "theirs"]], 1, id="both"),
    pytest.param([[THEIRS], [call("ours", 3)]], [["theirs"], ["ours 3"]], 1, id="theirs-then-ours"),
]


def outputs_of(run):
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert {call.function.name for call in calls} == {"theirs"}
    return [{"tool_call_id": call.id, "output": "theirs"} for call in calls]


class Handler(AsyncAssistantEventHandler):
    """Answers what the run waits for in a stream of its own, as the SDK's documents do."""

    def __init__(self, client):
        super().__init__()
        self.client, self.text, self.outputs = client, "", []

    async def on_text_delta(self, delta, snapshot):
        self.text += delta.value or ""

    async def on_tool_call_done(self, tool_call):
        self.outputs.append(tool_call.function.output)

    async def on_event(self, event):
        if event.event != "thread.run.requires_action":
            return
        handler = Handler(self.client)
        run, waits = event.data, self.client.beta.threads.runs
        async with waits.submit_tool_outputs_stream(
            thread_id=run.thread_id, run_id=run.id, tool_outputs=outputs_of(run), event_handler=handler
        ) as stream:
            await stream.until_done()
        self.text += handler.text


async def steps_of(client, run):
    page = await client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc")
    details = [step.step_details for step in page.data if step.type == "tool_calls"]
    return [[call.function.output for call in each.tool_calls] for each in details]


@pytest.fixture
def sdk(before):
    """The SDK's client of a service before a model with these rounds."""

    def begin(service):
        return AsyncOpenAI(base_url=service.base_url, api_key="none", max_retries=0)

    return begin


@pytest.mark.parametrize(("rounds", "outputs", "called"), ROUNDS)
async def test_create_and_poll(before, counted, sdk, rounds, outputs, called):
    model = ScriptedOpenAI(*rounds, [message("done")])
    async with (
        fake_upstream(model.handle) as upstream,
        before(upstream) as service,
        sdk(service) as client,
    ):
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
        runs = client.beta.threads.runs
        run = await runs.create_and_poll(thread_id=thread.id, assistant_id=ASSISTANT, poll_interval_ms=20)
        if run.status == "requires_action":
            run = await runs.submit_tool_outputs_and_poll(
                run_id=run.id, thread_id=thread.id, tool_outputs=outputs_of(run), poll_interval_ms=20
            )
        assert run.status == "completed"
        assert await steps_of(client, run) == outputs
        answer = await client.beta.threads.messages.list(thread.id, run_id=run.id)
        assert answer.data[0].content[0].text.value == "done"
    assert counted() == called


@pytest.mark.parametrize(("rounds", "outputs", "called"), ROUNDS)
async def test_stream(before, counted, sdk, rounds, outputs, called):
    model = ScriptedOpenAI(*rounds, [message("done")])
    async with (
        fake_upstream(model.handle) as upstream,
        before(upstream) as service,
        sdk(service) as client,
    ):
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
        handler = Handler(client)
        async with client.beta.threads.runs.stream(
            thread_id=thread.id, assistant_id=ASSISTANT, event_handler=handler
        ) as stream:
            await stream.until_done()
        messages = (await client.beta.threads.messages.list(thread.id)).data
        assert messages[0].content[0].text.value == "done"
        run = await client.beta.threads.runs.retrieve(messages[0].run_id, thread_id=thread.id)
        assert run.status == "completed"
        assert await steps_of(client, run) == outputs
    assert counted() == called
