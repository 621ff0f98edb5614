"""An upstream whose objects have the wrong types: a 502 or a failed run, never a 500 or a silent end."""

import json
from typing import Any

import pytest

from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, Json, error_of, frames, names

STARTED: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "in_progress",
    "output": [],
}
MESSAGE: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
BAD_CITATION: Json = {"type": "url_citation", "url": "http://x", "start_index": 1e300}
DEEP: Any = json.loads('{"a":' * 400 + "1" + "}" * 400)
BAD_RESPONSES: list[Json] = [
    {"id": 5},
    {"created_at": "yesterday"},
    {"output": "text"},
    {"output": {"a": 1}},
    {"output": [None, 5]},
    {"output": [{**MESSAGE, "content": "plain"}]},
    {"output": [{**MESSAGE, "content": [None]}]},
    {"output": [{**MESSAGE, "content": [{"type": "output_text", "text": "a", "annotations": ["x"]}]}]},
    {"output": [{"type": "function_call", "id": "fc_1", "call_id": 5, "name": "f", "arguments": "{}"}]},
    {"output": [{"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": 5}]},
    {"output": [{"type": "function_call", "call_id": None, "name": "f", "arguments": "{}"}]},
    {"output": [{"type": "code_interpreter_call", "id": "ci_1", "outputs": "x"}]},
    {"output": [{"type": "file_search_call", "id": "fs_1", "results": [5]}]},
    {"usage": {"input_tokens": "many"}},
    {"usage": "many"},
    {"usage": {"output_tokens": 1e300}},
    {"created_at": 2**80},
    {"completed_at": 1e300},
    {"status": ["completed"]},
    {"model": {}},
    {"metadata": ["a"]},
    {"metadata": DEEP},
    {"tools": [{"type": []}]},
    {"text": {"format": []}},
    {"reasoning": "much"},
    {"temperature": "hot"},
    {"max_output_tokens": -1},
    {"incomplete_details": "x"},
    {"id": "resp_1\r\nset-cookie: x=1"},
    {"id": "resp_" + "x" * 2000},
    {"output": [{**MESSAGE, "id": "msg 1"}]},
    {"output": [{**MESSAGE, "type": {}}]},
    {"output": [{**MESSAGE, "role": []}]},
    {"output": [{**MESSAGE, "content": [{"type": "output_text", "text": 5}]}]},
    {
        "output": [
            {**MESSAGE, "content": [{"type": "output_text", "text": "a", "annotations": [BAD_CITATION]}]}
        ]
    },
    {"output": [{"type": "function_call", "id": "fc_1", "call_id": "c\n", "name": "f", "arguments": "{}"}]},
    {"output": [{"type": "unknown", "other": DEEP}]},
]
BAD_CONVERSATIONS: list[Json] = [
    {},
    {"id": 5},
    {"id": "conv_1\r\n"},
    {"id": "conv_"},
    {"id": "conv_a..b"},
    {"id": "conv_" + "x" * 200},
    {"id": "conv_1", "created_at": "yesterday"},
    {"id": "conv_1", "created_at": True},
    {"id": "conv_1", "created_at": 1e300},
    {"id": "conv_1", "metadata": [1]},
    {"id": "conv_1", "metadata": DEEP},
]


def brief(bad: Json) -> str:
    return json.dumps(bad)[:60]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Repeat at once: a response that failed is cancelled, and the answer to that is malformed again."""
    monkeypatch.setattr("app.core.upstream.retries._BACKOFF_SECONDS", (0, 0))


class Hostile:
    """Starts a response well and ends it with a bad one, in the stream or only where it is looked up."""

    def __init__(self, bad: Json, *, in_stream: bool) -> None:
        self.whole = {**STARTED, "status": "completed", **bad}
        self.events = [{"type": "response.created", "response": STARTED}]
        if in_stream:
            self.events.append({"type": "response.completed", "response": self.whole})
        self.conversation: Any = {"id": "conv_1", "created_at": 1, "metadata": {}}
        self.items: Any = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.endswith("/items"):
            await connection.answer(200, {"data": self.items, "has_more": False})
        elif request.path.startswith("/v1/conversations"):
            await connection.answer(200, self.conversation)
        elif request.path == "/v1/responses":
            await connection.start_stream()
            for event in self.events:
                await connection.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            await connection.end_stream()
        else:
            await connection.answer(200, self.whole)


@pytest.mark.parametrize("in_stream", [True, False])
@pytest.mark.parametrize("bad", BAD_RESPONSES, ids=brief)
async def test_a_response_of_wrong_types_fails_the_run(start, bad, in_stream):
    hostile = Hostile(bad, in_stream=in_stream)
    async with fake_upstream(hostile) as fake, start(url=fake.url, is_served=True) as service:
        body = {"assistant_id": ASSISTANT, "stream": True}
        told = frames((await service.client.post("threads/thread_1/runs", json=body)).text)
        chat = await service.client.post("chat", json={"message": "hi"})
    assert names(told)[-2:] == ["thread.run.failed", "done"]
    error_of(chat, 502)


@pytest.mark.parametrize("path", ["runs/run_1", "runs/run_1/steps", "runs/run_1/events"])
@pytest.mark.parametrize("bad", BAD_RESPONSES, ids=brief)
async def test_a_response_of_wrong_types_cannot_be_read(start, bad, path):
    async with fake_upstream(Hostile(bad, in_stream=True)) as fake, start(url=fake.url) as service:
        assert (
            error_of(await service.client.get(f"threads/thread_1/{path}"), 502)["code"] == "upstream_broken"
        )


@pytest.mark.parametrize("path", ["", "/messages", "/runs"])
@pytest.mark.parametrize("bad", BAD_CONVERSATIONS, ids=brief)
async def test_a_conversation_of_wrong_types_cannot_be_read(start, bad, path):
    hostile = Hostile({}, in_stream=True)
    hostile.conversation = bad
    async with fake_upstream(hostile) as fake, start(url=fake.url) as service:
        assert error_of(await service.client.get(f"threads/thread_1{path}"), 502)["code"] == "upstream_broken"


@pytest.mark.parametrize(
    "items",
    [
        "x",
        {"a": 1},
        [5],
        [{**MESSAGE, "content": "plain"}],
        [{**MESSAGE, "content": [5]}],
        [{**MESSAGE, "id": None}],
        [{**MESSAGE, "id": "msg\r\n1"}],
    ],
)
async def test_items_of_wrong_types_cannot_be_listed(start, items):
    hostile = Hostile({}, in_stream=True)
    hostile.items = items
    async with fake_upstream(hostile) as fake, start(url=fake.url) as service:
        response = await service.client.get("threads/thread_1/messages")
    assert error_of(response, 502)["code"] == "upstream_broken"


@pytest.mark.parametrize(
    "metadata",
    [None, {"soloist_runs": "5,\r\n,a b", "soloist_run": ">>,x>,\n>y", "soloist_resources": "["}],
)
async def test_what_the_thread_remembers_may_be_unreadable(start, metadata):
    hostile = Hostile({}, in_stream=True)
    hostile.conversation = {"id": "conv_1", "created_at": 1, "metadata": metadata}
    async with fake_upstream(hostile) as fake, start(url=fake.url) as service:
        for path in ("", "/messages"):
            assert (await service.client.get(f"threads/thread_1{path}")).status_code == 200
