"""An upstream that misbehaves in the middle of an answer: the stream heals or says so, never just stops."""

import json
from typing import ClassVar

import pytest

from tests.api.test_streams import PLAIN, data_of, streamed_events
from tests.dialects import BADLY, DIALECTS, WELL, ends, request_of, text_in
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import (
    Json,
    error_of,
    frames,
    names,
    text_of,
)

ANSWER = "You said: one two three"
PROMPT = "one two three"


class TestHealing:
    """In the background the answer lives on upstream, so a broken stream is picked up where it broke."""

    @pytest.mark.parametrize("fault", ["truncate", "reset", "bad-json"])
    @pytest.mark.parametrize("after", [1, 5, 8])
    async def test_nothing_is_missing_and_nothing_comes_twice(self, start, adapter, fault, after):
        knobs = {"fault": fault, "fault_after": after}
        async with start(is_served=True, upstream_adapter=adapter, knobs=knobs) as service:
            events = await streamed_events(service.client, PROMPT)
        assert names(events) == PLAIN
        assert text_of(events) == ANSWER
        assert len(data_of(events, "thread.message.delta")) == 6

    @pytest.mark.parametrize(
        ("knobs", "settings"),
        [
            ({"fault": "truncate", "fault_after": 1, "first_token_ms": 300}, {}),
            ({"first_token_ms": 1_000}, {"openai_timeout_seconds": 0.4}),
        ],
        ids=["each connection brings one event", "nothing comes for longer than the upstream may be silent"],
    )
    async def test_a_model_that_is_still_at_work_is_not_given_up(self, start, adapter, knobs, settings):
        async with start(is_served=True, upstream_adapter=adapter, knobs=knobs, **settings) as service:
            events = await streamed_events(service.client, PROMPT)
            body = {"message": PROMPT, "on_disconnect": "detach"}
            whole = (await service.client.post("chat", json=body)).json()
        assert names(events) == PLAIN
        assert text_of(events) == whole["message"] == ANSWER

    async def test_a_stall_heals_after_the_timeout(self, start, adapter):
        knobs = {"fault": "stall", "fault_after": 6}
        async with start(
            is_served=True, upstream_adapter=adapter, knobs=knobs, openai_timeout_seconds=0.5
        ) as service:
            events = await streamed_events(service.client, PROMPT)
        assert names(events) == PLAIN
        assert text_of(events) == ANSWER

    async def test_a_model_that_never_ends_to_think_is_stopped_at_the_deadline(self, start, adapter):
        async with start(
            is_served=True,
            upstream_adapter=adapter,
            knobs={"first_token_ms": 60_000},
            openai_timeout_seconds=0.5,
            run_expires_seconds=1.5,
        ) as service:
            events = await streamed_events(service.client, PROMPT)
            body = {"message": PROMPT, "on_disconnect": "detach"}
            answer = await service.client.post("chat", json=body)
            plain = await service.client.post("chat", json={"message": PROMPT})
        assert names(events)[-2:] == ["thread.run.expired", "done"]
        assert error_of(answer, 502)["code"] == "expired"
        assert error_of(plain, 504)["code"] == "upstream_timeout"

    @pytest.mark.parametrize("dialect", DIALECTS)
    @pytest.mark.parametrize("fault", ["truncate", "reset", "bad-json"])
    async def test_every_dialect_gets_the_whole_text(self, start, dialect, fault):
        knobs = {"fault": fault, "fault_after": 7}
        async with start(is_served=True, knobs=knobs, on_disconnect_chat="detach") as service:
            path, body = request_of(dialect, PROMPT)
            events = frames((await service.client.post(path, json=body)).text)
        assert text_in(dialect, events) == ANSWER
        assert ends(dialect, events) == WELL[dialect]

    async def test_arguments_of_a_tool_call_are_whole_too(self, start, adapter):
        for after in (4, 6, 7):
            knobs = {"fault": "truncate", "fault_after": after}
            async with start(is_served=True, upstream_adapter=adapter, knobs=knobs) as service:
                events = await streamed_events(service.client, "use the tool")
            assert names(events)[-2:] == ["thread.run.requires_action", "done"]
            action = data_of(events, "thread.run.requires_action")[0]["required_action"]
            call = action["submit_tool_outputs"]["tool_calls"][0]
            deltas = [
                data["delta"]["step_details"]["tool_calls"][0]["function"].get("arguments", "")
                for data in data_of(events, "thread.run.step.delta")
            ]
            assert "".join(deltas) == call["function"]["arguments"]

    @pytest.mark.parametrize("slices", [1, 2, 7])
    async def test_slices_of_any_size_give_the_same_events(self, start, slices):
        async with start(is_served=True, knobs={"chunk_bytes": slices}) as service:
            events = await streamed_events(service.client, "né 文 🙂")
        assert names(events) == PLAIN
        assert text_of(events) == "You said: né 文 🙂"


class Foreground:
    """An upstream without background mode whose stream breaks off after two words."""

    ITEM: ClassVar[Json] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}

    def __init__(self, status: str) -> None:
        part = {"type": "output_text", "text": ANSWER, "annotations": []}
        self.response: Json = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1_790_000_000,
            "output": [],
        }
        is_whole = status == "completed"
        self.ended = {**self.response, "status": status}
        self.ended["output"] = [{**self.ITEM, "content": [part]}] if is_whole else []

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path == "/v1/responses":
            await self.send(connection, self.events())
        elif request.path.startswith("/v1/responses/"):
            await connection.answer(200, self.ended)
        else:
            await connection.answer(200, {"id": "conv_1", "created_at": 1, "metadata": {}})

    async def send(self, connection: Connection, events: list[Json]) -> None:
        await connection.start_stream()
        for event in events:
            await connection.chunk(self.frame(event))
        await connection.end_stream()

    def frame(self, event: Json) -> bytes:
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    def events(self) -> list[Json]:
        live = {**self.response, "status": "in_progress"}
        events: list[Json] = [
            {"type": "response.created", "response": live},
            {"type": "response.in_progress", "response": live},
            {"type": "response.output_item.added", "output_index": 0, "item": {**self.ITEM, "content": []}},
        ]
        deltas = ("You", " said:")
        events += [
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": delta}
            for delta in deltas
        ]
        return [{**event, "sequence_number": number} for number, event in enumerate(events)]


class TestForegroundStreams:
    """A foreground response ends with its stream: a break is told at once, and nothing is asked again."""

    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_an_answer_that_was_lost_is_a_failure(self, start, dialect):
        async with (
            fake_upstream(Foreground("in_progress")) as fake,
            start(url=fake.url, is_served=True, upstream_background="never") as service,
        ):
            path, body = request_of(dialect, PROMPT)
            events = frames((await service.client.post(path, json=body)).text)
        assert text_in(dialect, events) == "You said:"
        assert ends(dialect, events) == BADLY[dialect]
        assert not any(request.path.startswith("/v1/responses/") for request in fake.requests)


class TestBeforeTheRunExists:
    async def test_a_stream_that_ends_without_an_event_is_no_200(self, start, adapter):
        knobs = {"fault": "truncate", "fault_after": 0}
        async with start(is_served=True, upstream_adapter=adapter, knobs=knobs) as service:
            for dialect in DIALECTS:
                path, body = request_of(dialect, "hi")
                response = await service.client.post(path, json=body)
                assert error_of(response, 502)["code"] == "upstream_broken"
                assert response.headers["x-should-retry"] == "false"

    async def test_silence_is_a_504(self, start, adapter):
        async with start(
            is_served=True, upstream_adapter=adapter, knobs={"fault": "hang"}, openai_timeout_seconds=0.5
        ) as service:
            response = await service.client.post("chat", json={"message": "hi", "stream": True})
        assert error_of(response, 504)["code"] == "upstream_timeout"

    @pytest.mark.parametrize(
        ("first", "code"),
        [
            (b"data: {no json\n\n", "upstream_broken"),
            (b'event: response.created\ndata: {"type":"response.created"}\n\n', "upstream_broken"),
            (
                b'event: response.created\ndata: {"type":"response.created","response":7}\n\n',
                "upstream_broken",
            ),
            (b'event: error\ndata: {"type":"error","message":"canary"}\n\n', "upstream_failed"),
            (b"<html>canary</html>", "upstream_broken"),
        ],
    )
    async def test_garbage_instead_of_a_run_is_a_502_without_its_text(self, start, adapter, first, code):
        async def speak(request: Request, connection: Connection) -> None:
            if request.path == "/v1/conversations":
                await connection.answer(200, {"id": "conv_1", "created_at": 1, "metadata": {}})
                return
            await connection.start_stream()
            await connection.chunk(first)
            await connection.end_stream()

        async with (
            fake_upstream(speak) as fake,
            start(url=fake.url, is_served=True, upstream_adapter=adapter) as service,
        ):
            response = await service.client.post("chat", json={"message": "hi", "stream": True})
            assert error_of(response, 502)["code"] == code
            assert "canary" not in response.text
        assert [request.path for request in fake.requests].count("/v1/responses") == 1
