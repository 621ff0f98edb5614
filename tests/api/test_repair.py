"""Open calls of an earlier turn: closed for the client that left, but for those that it answers itself."""

import pytest

from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import ASSISTANT

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
NOT_ANSWERED = "The tool call was not answered: its caller went away."


def call(name):
    return {"type": "function_call", "id": f"fc_{name}", "call_id": name, "name": "f", "arguments": "{}"}


def history(*answered):
    part = {"type": "tool-f", "input": {}}
    done = [{**part, "toolCallId": i, "state": "output-available", "output": "real"} for i in answered]
    return [
        {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]},
        {"id": "a1", "role": "assistant", "parts": done},
        {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "next"}]},
    ]


def outputs(items):
    return sorted((i["call_id"], i["output"]) for i in items if i["type"] == "function_call_output")


@pytest.mark.parametrize(
    ("answered", "closed"),
    [(("call_a",), ["call_b"]), ((), ["call_a", "call_b"]), (("call_a", "call_b"), [])],
)
async def test_only_what_the_request_leaves_open_is_closed(start, answered, closed):
    script = ScriptedOpenAI([call("call_a"), call("call_b")], [message("Done.")])
    async with (
        fake_upstream(script.handle) as upstream,
        start(url=upstream.url, assistant_tools=[FUNCTION]) as s,
    ):
        first = (await s.client.post("chat", json={"message": "hi"})).json()
        body = {"thread_id": first["thread_id"], "messages": history(*answered), "stream": False}
        found = await s.client.post("chat", json=body)
    assert (found.status_code, found.json()["message"]) == (200, "Done.")
    named = found.headers.get("x-unanswered-tool-calls", "")
    assert sorted(filter(None, named.split(", "))) == closed
    told = [*((each, "real") for each in answered), *((each, NOT_ANSWERED) for each in closed)]
    assert outputs(script.items) == sorted(told)


@pytest.mark.parametrize("environment", [{}, {"environment": None}, {"environment": {"type": "local"}}])
async def test_an_open_call_of_a_shell_beside_the_service_is_closed(start, environment):
    shell = {"type": "shell_call", "id": "sh_1", "call_id": "call_s", "action": {"commands": ["ls"]}}
    script = ScriptedOpenAI([shell | environment], [message("Done.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        thread_id = (await service.client.post("chat", json={"message": "hi"})).json()["thread_id"]
        found = await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
    assert (found.status_code, found.headers["x-unanswered-tool-calls"]) == (200, "call_s")


async def test_a_shell_call_with_its_output_is_left_alone(start):
    shell = {"type": "shell_call", "id": "sh_1", "call_id": "call_s", "action": {"commands": ["ls"]}}
    ran = {"type": "shell_call_output", "id": "sho_1", "call_id": "call_s", "output": []}
    script = ScriptedOpenAI([shell, ran, call("call_a")], [message("Done.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        thread_id = (await service.client.post("chat", json={"message": "hi"})).json()["thread_id"]
        found = await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
    assert (found.status_code, found.headers["x-unanswered-tool-calls"]) == (200, "call_a")


async def test_a_stored_message_is_answered_whatever_fails_after_it(start):
    """SDKs repeat a request that failed, and the message would be there twice."""

    class Failing(ScriptedOpenAI):
        async def handle(self, request, connection):
            if self.items and request.method == "GET":
                await connection.answer(429, {"error": {"message": "slow"}})
            else:
                await super().handle(request, connection)

    script = Failing()
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        thread_id = (await service.client.post("threads", json={})).json()["id"]
        body = {"role": "user", "content": "q"}
        found = await service.client.post(f"threads/{thread_id}/messages", json=body)
    assert found.status_code == 200
    assert found.json()["created_at"] > 0
    assert len(script.items) == 1


class Refusing(ScriptedOpenAI):
    """Refuses turns with tools in the words `refusal`, `is_the_mode` only those in the background."""

    def __init__(self, refusal, *outputs, is_the_mode):
        super().__init__(*outputs)
        self.refusal, self.is_the_mode = refusal, is_the_mode

    async def _respond(self, body, connection):
        if body.get("background") if self.is_the_mode else body.get("tools"):
            self.sent.append(body)
            await connection.answer(400, {"error": {"message": self.refusal, "param": None}})
        else:
            await super()._respond(body, connection)


DRAWING = {"tools": [{"type": "image_generation", "background": "transparent"}]}
ONE_TURN = {"assistant_id": ASSISTANT, "thread": {"messages": [{"role": "user", "content": "q"}]}}


@pytest.mark.parametrize("setting", ["auto", "always"])
@pytest.mark.parametrize(
    "refusal", ["Transparent background is not supported.", "Invalid value 'transparent' for 'background'."]
)
async def test_a_refusal_that_outlives_the_mode_does_not_switch_it_off(start, setting, refusal):
    script = Refusing(refusal, [message("Done.")], is_the_mode=False)
    settings = {"assistant_tools": [], "upstream_background": setting}
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url, **settings) as service:
        assert (await service.client.post("threads/runs", json=ONE_TURN | DRAWING)).status_code == 400
        script.sent.clear()
        assert (await service.client.post("threads/runs", json=ONE_TURN)).status_code == 200
    assert [(body.get("background"), body.get("stream")) for body in script.sent] == [(True, True)]


async def test_a_mode_that_is_refused_is_not_asked_for_again(start):
    refusal = "Background mode is not supported with zero data retention"
    script = Refusing(refusal, *[[message("Done.", n)] for n in range(3)], is_the_mode=True)
    settings = {"assistant_tools": [], "upstream_background": "poll"}
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url, **settings) as service:
        for _ in range(2):
            assert (await service.client.post("threads/runs", json=ONE_TURN)).status_code == 200
    assert [body.get("background") for body in script.sent] == [True, None, None]
