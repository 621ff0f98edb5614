"""Upstreams that say less in their events: every protocol still gets the whole answer, and gets it once."""

import json

import pytest

from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, Json, frames, names, text_of

TEXT = "Hello world"
RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "in_progress",
    "output": [],
}
MESSAGE: Json = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}
REASONING: Json = {"type": "reasoning", "id": "rs_1", "summary": []}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city":"Kyiv"}',
    "status": "completed",
}
STARTED: Json = {"type": "response.created", "response": RESPONSE}


def added(item: Json, index: int = 0) -> Json:
    empty = {**item, "content": []} if "content" in item else {**item, "arguments": ""}
    return {"type": "response.output_item.added", "output_index": index, "item": empty}


def done(item: Json, index: int = 0) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(text: str, index: int = 0) -> Json:
    place = {"output_index": index, "content_index": 0, "item_id": "msg_1"}
    return {"type": "response.output_text.delta", "delta": text, **place}


def completed(*output: Json) -> Json:
    return {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "output": output}}


def without(event: Json, *names: str) -> Json:
    return {name: value for name, value in event.items() if name not in names}


ANSWERS: dict[str, list[Json]] = {
    "as OpenAI does": [
        STARTED,
        added(MESSAGE),
        delta("Hello"),
        delta(" world"),
        done(MESSAGE),
        completed(MESSAGE),
    ],
    "no item events": [STARTED, completed(MESSAGE)],
    "only the end": [completed(MESSAGE)],
    "no end of the item": [STARTED, added(MESSAGE), delta("Hello"), delta(" world"), completed(MESSAGE)],
    "no start of the item": [STARTED, delta("Hello"), delta(" world"), done(MESSAGE), completed(MESSAGE)],
    "deltas missing, no end": [STARTED, added(MESSAGE), delta("Hello"), completed(MESSAGE)],
    "deltas missing": [STARTED, added(MESSAGE), delta("Hello"), done(MESSAGE), completed(MESSAGE)],
    "no output at the end": [STARTED, added(MESSAGE), delta(TEXT), done(MESSAGE), completed()],
    "other indices at the end": [
        STARTED,
        added(REASONING),
        done(REASONING),
        added(MESSAGE, 1),
        delta(TEXT, 1),
        done(MESSAGE, 1),
        completed(MESSAGE),
    ],
    "other indices, no end": [
        STARTED,
        added(REASONING),
        added(MESSAGE, 1),
        delta("Hello", 1),
        completed(MESSAGE),
    ],
}
# Like llama.cpp: no indices, and every item ends at the end.
THOUGHT: Json = {**REASONING, "content": [{"type": "reasoning_text", "text": "Hm"}]}
WITHOUT_INDICES = [
    STARTED,
    added(THOUGHT),
    {"type": "response.reasoning_text.delta", "item_id": "rs_1", "delta": "Hm"},
    added(MESSAGE),
    delta("Hello"),
    delta(" world"),
    done(THOUGHT),
    done(MESSAGE),
    completed(THOUGHT, MESSAGE),
]
ANSWERS["no indices"] = [without(event, "output_index", "content_index") for event in WITHOUT_INDICES]
CALLS: dict[str, list[Json]] = {
    "as OpenAI does": [STARTED, added(CALL), done(CALL), completed(CALL)],
    "no item events": [STARTED, completed(CALL)],
    "no end of the item": [STARTED, added(CALL), completed(CALL)],
    "no output at the end": [STARTED, added(CALL), done(CALL), completed()],
}
WHOLE = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
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


class Telling:
    """Tells these events, with names and line ends as asked, and knows nothing of them afterwards."""

    def __init__(self, events: list[Json], *, has_names: bool = True, line_end: str = "\n") -> None:
        self._events = events
        self._has_names = has_names
        self._line_end = line_end

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.startswith("/v1/conversations"):
            await connection.answer(200, {"id": "conv_1", "created_at": 1, "metadata": {}})
        elif request.path == "/v1/responses" and not request.json.get("stream"):
            await connection.answer(200, completed(MESSAGE)["response"])
        elif request.path == "/v1/responses":
            await connection.start_stream()
            for number, event in enumerate(self._events):
                await connection.chunk(self._frame({**event, "sequence_number": number}))
            await connection.end_stream()
        else:
            await connection.answer(404, {"detail": "unknown"})

    def _frame(self, event: Json) -> bytes:
        name = f"event: {event['type']}{self._line_end}" if self._has_names else ""
        return f"{name}data: {json.dumps(event)}{self._line_end * 2}".encode()


@pytest.mark.parametrize(("has_names", "line_end"), [(True, "\n"), (False, "\n"), (False, "\r\n")])
@pytest.mark.parametrize("events", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_told_whole_and_once(start, events, has_names, line_end):
    telling = Telling(events, has_names=has_names, line_end=line_end)
    async with fake_upstream(telling) as fake, start(url=fake.url, is_served=True) as service:
        client = service.client
        body = {"assistant_id": ASSISTANT, "stream": True}
        told = frames((await client.post("threads/thread_1/runs", json=body)).text)
        assert names(told) == WHOLE
        assert text_of(told) == TEXT
        plain = await client.post(
            "chat", json={"message": "hi", "stream": True}, headers={"accept": "text/plain"}
        )
        assert plain.text == TEXT
        ui = frames((await client.post("chat", json={"messages": [{"role": "user", "content": "hi"}]})).text)
        assert "".join(data["delta"] for _, data in ui[:-1] if data["type"] == "text-delta") == TEXT
        assert (await client.post("chat", json={"message": "hi"})).json()["message"] == TEXT


@pytest.mark.parametrize("events", CALLS.values(), ids=CALLS)
async def test_a_function_call_is_told_whole_and_once(start, events):
    async with fake_upstream(Telling(events)) as fake, start(url=fake.url, is_served=True) as service:
        ui = frames(
            (await service.client.post("chat", json={"messages": [{"role": "user", "content": "hi"}]})).text
        )
        kinds = [data["type"] for _, data in ui[:-1]]
        assert kinds[2:-2] == ["tool-input-start", "tool-input-delta", "tool-input-available"]
        body = {"assistant_id": ASSISTANT, "stream": True}
        told = frames((await service.client.post("threads/thread_1/runs", json=body)).text)
        calls = [
            data["delta"]["step_details"]["tool_calls"][0]
            for name, data in told
            if name.endswith("step.delta")
        ]
        assert "".join(call["function"]["arguments"] for call in calls) == CALL["arguments"]
        assert names(told)[-2:] == ["thread.run.requires_action", "done"]


async def test_items_without_indices_are_told_as_those_with_them(start):
    second = {**CALL, "id": "fc_2", "call_id": "call_2"}
    arguments = {"type": "response.function_call_arguments.delta", "delta": CALL["arguments"]}
    events = [
        STARTED,
        added(MESSAGE),
        delta(TEXT),
        added(CALL, 1),
        {**arguments, "item_id": "fc_1", "output_index": 1},
        added(second, 2),
        {**arguments, "item_id": "fc_2", "output_index": 2},
        done(MESSAGE),
        done(CALL, 1),
        done(second, 2),
        completed(MESSAGE, CALL, second),
    ]
    bare = [without(event, "output_index", "content_index") for event in events]
    told = []
    for telling in (Telling(events), Telling(bare)):
        async with fake_upstream(telling) as fake, start(url=fake.url, is_served=True) as service:
            body = {"assistant_id": ASSISTANT, "stream": True}
            told.append(frames((await service.client.post("threads/thread_1/runs", json=body)).text))
    assert names(told[0])[-2:] == ["thread.run.requires_action", "done"]
    assert told[1] == told[0]


async def test_sources_that_are_told_twice_are_passed_on_once(start):
    unknown = {"type": "of_the_future"}
    cited = {
        "type": "url_citation",
        "url": "https://example.com/",
        "title": "T",
        "start_index": 0,
        "end_index": 5,
    }
    part = {"type": "output_text", "text": TEXT, "annotations": [unknown, cited]}
    message = {**MESSAGE, "content": [part]}
    place = {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0}
    sources = [{**place, "item_id": "msg_1", "annotation": found} for found in (unknown, cited)]
    events = [STARTED, added(message), delta(TEXT), *sources, done(message), completed(message)]
    async with fake_upstream(Telling(events)) as fake, start(url=fake.url, is_served=True) as service:
        told = frames((await service.client.post("chat", json={"message": "hi", "stream": True})).text)
    assert [name for name, _ in told].count("annotation") == 1


async def test_after_an_error_event_the_run_does_not_go_on_unseen(start):
    failing = {"type": "error", "code": "server_error", "message": "canary"}
    telling = Telling([STARTED, added(MESSAGE), delta("Hello"), failing])
    async with fake_upstream(telling) as fake, start(url=fake.url, is_served=True) as service:
        body = {"assistant_id": ASSISTANT, "stream": True}
        answer = await service.client.post("threads/thread_1/runs", json=body)
    assert names(frames(answer.text))[-2:] == ["thread.run.failed", "done"]
    assert "canary" not in answer.text
    assert "/v1/responses/resp_1/cancel" in [request.path for request in fake.requests]
