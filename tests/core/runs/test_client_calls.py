"""Calls that wait for an answer: which of them a client gets, and how each kind is answered or closed."""

import json

import pytest

from tests.fake_upstream import fake_upstream
from tests.scripted_openai import ScriptedOpenAI, message
from tests.support import ASSISTANT, error_of, frames, names

CUSTOM = {"type": "custom", "name": "note", "description": "Writes a note."}
ASKING_MCP = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example/mcp"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CUSTOM_CALL = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "call_1",
    "name": "note",
    "input": 'a "b"',
}
APPROVAL = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "wiki",
    "name": "search",
    "arguments": '{"q":"x"}',
}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
ASKED_APPROVAL = {"server_label": "wiki", "name": "search", "arguments": '{"q":"x"}'}


async def chat(client, text="Hi.", **more):
    return await client.post("chat", json={"message": text, **more})


def calls_of(run):
    return run["required_action"]["submit_tool_outputs"]["tool_calls"]


@pytest.mark.parametrize(
    ("tool", "item", "name", "arguments"),
    [
        (CUSTOM, CUSTOM_CALL, "note", {"input": 'a "b"'}),
        (ASKING_MCP, APPROVAL, "mcp_approval", ASKED_APPROVAL),
    ],
)
async def test_calls_that_clients_know_as_functions(start, tool, item, name, arguments):
    script = ScriptedOpenAI([item], [message("Done.")])
    async with (
        fake_upstream(script.handle) as upstream,
        start(url=upstream.url, assistant_tools=[tool]) as service,
    ):
        thread = (await service.client.post("threads", json={})).json()
        path = f"threads/{thread['id']}/runs"
        told = frames(
            (await service.client.post(path, json={"assistant_id": ASSISTANT, "stream": True})).text
        )
        assert names(told) == [
            "thread.run.created",
            "thread.run.queued",
            "thread.run.in_progress",
            "thread.run.step.created",
            "thread.run.step.in_progress",
            "thread.run.step.delta",
            "thread.run.requires_action",
            "done",
        ]
        run = told[-2][1]
        assert [call["function"]["name"] for call in calls_of(run)] == [name]
        assert json.loads(calls_of(run)[0]["function"]["arguments"]) == arguments
        assert (await service.client.get(f"{path}/{run['id']}")).json()["required_action"] == run[
            "required_action"
        ]
        output = {"tool_call_id": calls_of(run)[0]["id"], "output": "approve"}
        answered = await service.client.post(
            f"{path}/{run['id']}/submit_tool_outputs", json={"tool_outputs": [output], "stream": True}
        )
        assert names(frames(answered.text))[-2:] == ["thread.run.completed", "done"]
    assert script.sent[1]["input"] == [
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
        if item is APPROVAL
        else {"type": "custom_tool_call_output", "call_id": "call_1", "output": "approve"}
    ]


async def test_an_approval_is_approved_or_denied(start):
    script = ScriptedOpenAI([APPROVAL], [message("Then not.")])
    async with (
        fake_upstream(script.handle) as upstream,
        start(url=upstream.url, assistant_tools=[ASKING_MCP]) as service,
    ):
        asked = (await chat(service.client)).json()
        assert asked["status"] == "requires_action"
        where = {"thread_id": asked["thread_id"], "run_id": asked["run_id"]}
        output = {"tool_call_id": asked["tool_calls"][0]["id"], "output": "perhaps"}
        refused = await service.client.post("chat", json={**where, "tool_outputs": [output]})
        assert error_of(refused, 400)["code"] == "invalid_approval"
        denied = {**where, "tool_outputs": [output | {"output": " Deny "}]}
        assert (await service.client.post("chat", json=denied)).json()["message"] == "Then not."
    assert script.sent[1]["input"][0]["approve"] is False


async def test_a_frontends_tool_result_answers_a_call_that_is_no_function(start):
    script = ScriptedOpenAI([APPROVAL], [message("Done.")])
    async with (
        fake_upstream(script.handle) as upstream,
        start(url=upstream.url, assistant_tools=[ASKING_MCP]) as service,
    ):
        asked = (await chat(service.client)).json()
        part = {
            "type": "tool-mcp_approval",
            "toolCallId": asked["tool_calls"][0]["id"],
            "state": "output-available",
            "input": {},
            "output": "approve",
        }
        history = [
            {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi."}]},
            {"id": "2", "role": "assistant", "parts": [part]},
        ]
        body = {"messages": history, "thread_id": asked["thread_id"]}
        assert "Done." in (await service.client.post("chat", json=body)).text
    assert script.sent[1]["input"] == [
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    ]


@pytest.mark.parametrize("item", [CUSTOM_CALL, APPROVAL])
async def test_a_call_of_a_tool_that_was_not_asked_for_is_no_clients(start, item):
    script = ScriptedOpenAI([item, message("Hello.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        answer = (await chat(service.client)).json()
        assert (answer["status"], answer["message"]) == ("completed", "Hello.")
        assert "tool_calls" not in answer


OPEN_CALLS = [
    (FUNCTION_CALL, {"type": "function_call_output", "call_id": "call_1"}),
    (CUSTOM_CALL, {"type": "custom_tool_call_output", "call_id": "call_1"}),
    (APPROVAL, {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False}),
    (
        {"type": "computer_call", "id": "cu_1", "call_id": "call_1", "action": {"type": "click"}},
        {"type": "computer_call_output", "call_id": "call_1"},
    ),
    (
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1", "action": {"type": "exec"}},
        {"type": "local_shell_call_output", "id": "call_1", "call_id": "call_1"},
    ),
    (
        {"type": "shell_call", "id": "sh_1", "call_id": "call_1", "environment": {"type": "local"}},
        {"type": "shell_call_output", "call_id": "call_1"},
    ),
    (
        {"type": "apply_patch_call", "id": "apc_1", "call_id": "call_1", "operation": {}},
        {"type": "apply_patch_call_output", "call_id": "call_1", "status": "failed"},
    ),
]


@pytest.mark.parametrize(("item", "closing"), OPEN_CALLS, ids=lambda value: value["type"])
async def test_an_open_call_of_any_kind_is_closed_by_the_next_turn(start, item, closing):
    script = ScriptedOpenAI([item], [message("Hello again.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        first = (await chat(service.client)).json()
        second = await chat(service.client, thread_id=first["thread_id"])
        assert second.json()["message"] == "Hello again."
        call_id = item.get("call_id") or item["id"]
        assert second.headers["x-unanswered-tool-calls"] == call_id
        answered = [kept for kept in script.items if kept["type"] == closing["type"]]
        assert [kept | closing for kept in answered] == answered
        if item is FUNCTION_CALL:
            path = f"threads/{first['thread_id']}/runs/{first['run_id']}"
            run = (await service.client.get(path)).json()
            assert (run["status"], run["required_action"]) == ("expired", None)


async def test_an_upstreams_shell_waits_for_nobody(start):
    ran_there = {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "call_1",
        "environment": {"type": "container"},
    }
    open_call = {**FUNCTION_CALL, "call_id": "call_2"}
    script = ScriptedOpenAI([ran_there, open_call], [message("Hello.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        first = (await chat(service.client)).json()
        assert first["status"] == "requires_action"
        second = await chat(service.client, thread_id=first["thread_id"])
        assert second.headers["x-unanswered-tool-calls"] == "call_2"


@pytest.mark.parametrize("kind", ["computer_use_preview", "computer", "local_shell", "apply_patch", "shell"])
async def test_tools_that_no_client_could_run_stop_the_start(start, kind):
    with pytest.raises(ValueError, match=f"ASSISTANT_TOOLS.*{kind}"):
        async with start(assistant_tools=[{"type": kind}]):
            pass


async def test_later_rounds_use_the_secrets_of_the_runs_own_request(start):
    tool = {**ASKING_MCP, "require_approval": "never", "authorization": "token-1"}
    script = ScriptedOpenAI([FUNCTION_CALL], [message("Done.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        thread = (await service.client.post("threads", json={})).json()
        path = f"threads/{thread['id']}/runs"
        body = {"assistant_id": ASSISTANT, "tools": [FUNCTION, tool], "model": "gpt-6-sol"}
        run = (await service.client.post(path, json=body)).json()
        output = {"tool_call_id": "call_1", "output": "1"}
        await service.client.post(f"{path}/{run['id']}/submit_tool_outputs", json={"tool_outputs": [output]})
    assert script.sent[1]["tools"] == script.sent[0]["tools"]
    assert script.sent[1]["tools"][1]["authorization"] == "token-1"
    assert script.sent[1]["model"] == "gpt-6-sol"


async def test_another_replica_leaves_out_tools_whose_secrets_it_does_not_know(start):
    tool = {**ASKING_MCP, "require_approval": "never", "authorization": "token-1"}
    script = ScriptedOpenAI([FUNCTION_CALL], [message("Done.")])
    async with fake_upstream(script.handle) as upstream:
        async with start(url=upstream.url) as service:
            thread = (await service.client.post("threads", json={})).json()
            path = f"threads/{thread['id']}/runs"
            body = {"assistant_id": ASSISTANT, "tools": [FUNCTION, tool]}
            run = (await service.client.post(path, json=body)).json()
        async with start(url=upstream.url) as other:
            output = {"tool_call_id": "call_1", "output": "1"}
            answered = await other.client.post(
                f"{path}/{run['id']}/submit_tool_outputs", json={"tool_outputs": [output]}
            )
            assert answered.status_code == 200
    assert [sent["type"] for sent in script.sent[1]["tools"]] == ["function"]


@pytest.mark.parametrize("choice", [None, {"type": "custom", "name": "note"}, {"type": "retrieval"}])
async def test_a_run_may_bring_a_custom_tool_of_its_own(start, choice):
    script = ScriptedOpenAI([CUSTOM_CALL], [message("Done.")])
    async with fake_upstream(script.handle) as upstream, start(url=upstream.url) as service:
        body = {"thread": {"messages": [{"role": "user", "content": "hi"}]}, "tools": [CUSTOM]}
        run = await service.client.post("threads/runs", json=body | {"tool_choice": choice})
        assert run.status_code == 200, run.text
        path = f"threads/{run.json()['thread_id']}/runs/{run.json()['id']}"
        outputs = {"tool_outputs": [{"tool_call_id": "call_1", "output": "noted"}]}
        ended = await service.client.post(f"{path}/submit_tool_outputs", json=outputs)
    assert run.json()["status"] == "requires_action"
    assert [call["function"]["name"] for call in calls_of(run.json())] == ["note"]
    sent = {"type": "file_search"} if choice == {"type": "retrieval"} else choice
    assert [body.get("tool_choice") for body in script.sent] == [sent, None]
    assert [body["tools"] for body in script.sent] == [[CUSTOM], [CUSTOM]]
    assert ended.json()["status"] == "completed"
    answers = [item for item in script.items if item["type"] == "custom_tool_call_output"]
    assert [(item["call_id"], item["output"]) for item in answers] == [("call_1", "noted")]


@pytest.mark.parametrize("tool", [{"type": "custom"}, {"type": "custom", "name": "a b"}])
async def test_a_custom_tool_without_a_proper_name_is_refused(client, tool):
    error = error_of(await client.post("threads/runs", json={"tools": [tool]}), 400)
    assert error["param"].startswith("tools[0]")
