"""A JSON answer whose upstream stream breaks goes on after what was read, and never beyond it."""

import json

import pytest

from tests.fake_upstream import fake_upstream
from tests.support import Json

RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "status": "in_progress",
    "created_at": 4_000_000_000,
    "output": [],
}
ANSWER: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "all of it", "annotations": []}],
}


def event(number, name, **body):
    data = json.dumps({"type": name, "sequence_number": number, **body})
    return f"event: {name}\ndata: {data}\n\n".encode()


CREATED = event(0, "response.created", response=RESPONSE)
DELTA = "response.output_text.delta"
DONE = event(3, "response.output_item.done", output_index=0, item=ANSWER)
COMPLETED = event(5, "response.completed", response=RESPONSE | {"status": "completed"})
STREAMS = {
    "between two chunks": ([CREATED + event(1, DELTA, delta="a"), event(2, DELTA, delta="b")], "2"),
    "before anything was dropped": ([CREATED], "0"),
    "at an event that cannot be read": (
        [CREATED + event(1, DELTA, delta="a") + b"data: oops\n\n" + DONE + event(4, DELTA, delta="b")],
        "0",
    ),
    "after one that is no text": (
        [CREATED + b'event: x\ndata: {"sequence_number": 1, "delta": "\xff"}\n\n'],
        "0",
    ),
}


WHOLE = event(5, "response.completed", response=RESPONSE | {"status": "completed", "output": [ANSWER]})
IN_ONE_PIECE = {
    "an answer": CREATED + event(1, DELTA, delta="a") + DONE + WHOLE,
    "an answer whose last event holds nothing": CREATED + event(1, DELTA, delta="a") + DONE + COMPLETED,
    "something before the end that cannot be read": CREATED + b"event: x\nnonsense\n\n" + WHOLE,
    "the end of an event that began before": b'event: x\ndata: "...\n\n' + WHOLE,
}


class Breaking:
    """Streams some chunks and breaks off; the rest is sent to whoever follows the response."""

    def __init__(self, chunks):
        self._chunks = chunks
        self.followed_after = []

    async def __call__(self, request, connection):
        if request.path == "/v1/conversations":
            await connection.answer(200, {"id": "conv_1", "object": "conversation", "created_at": 1})
        elif request.path == "/v1/responses":
            await connection.start_stream()
            for chunk in self._chunks:
                await connection.chunk(chunk)
            connection.close()
        elif request.query.get("stream"):
            self.followed_after.append(request.query.get("starting_after"))
            await connection.start_stream()
            await connection.chunk(DONE + COMPLETED)
            await connection.end_stream()
        elif request.path.startswith("/v1/responses/"):
            await connection.answer(200, RESPONSE)
        else:
            await connection.answer(200, {"id": "conv_1", "object": "conversation", "created_at": 1})


@pytest.mark.parametrize("kind", STREAMS)
async def test_it_goes_on_after_the_last_event_that_was_read(start, kind):
    chunks, after = STREAMS[kind]
    upstream = Breaking(chunks)
    async with fake_upstream(upstream) as fake, start(url=fake.url) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert upstream.followed_after == [after]


@pytest.mark.parametrize("kind", IN_ONE_PIECE)
async def test_an_answer_in_one_piece(start, kind):
    upstream = Breaking([IN_ONE_PIECE[kind]])
    async with fake_upstream(upstream) as fake, start(url=fake.url) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert upstream.followed_after == []
