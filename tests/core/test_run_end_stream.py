"""A JSON answer whose upstream stream breaks goes on after what was read, and never beyond it."""

import asyncio
import gc
import json
import weakref

import pytest

from app.core.runs.stream import RunStream
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
    "after reads that nobody wanted": (
        [CREATED, event(1, DELTA, delta="a"), event(2, DELTA, delta="b")],
        "2",
    ),
    "in an event, after such a read": ([CREATED, event(1, DELTA, delta="a"), DONE[:30]], "1"),
    "in an event that was wanted": ([CREATED, event(1, DELTA, delta="a"), DONE + COMPLETED[:30]], "3"),
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
    "an error before the end": CREATED + event(1, "error", message="x") + WHOLE,
    "something before the end that cannot be read": CREATED + b"event: x\nnonsense\n\n" + WHOLE,
    "the end of an event that began before": b'event: x\ndata: "...\n\n' + WHOLE,
}


class Breaking:
    """Streams chunks, each a read of its own, and breaks off; the rest is for who follows the response."""

    def __init__(self, chunks):
        self._chunks = chunks
        self.followed_after = []
        self.reads = 0

    async def __call__(self, request, connection):
        if request.path == "/v1/conversations":
            await connection.answer(200, {"id": "conv_1", "object": "conversation", "created_at": 1})
        elif request.path == "/v1/responses":
            await connection.start_stream()
            for chunk in self._chunks:
                await asyncio.sleep(0.02)
                await connection.chunk(chunk)
            await asyncio.sleep(0.02)
            connection.close()
        elif request.query.get("stream"):
            self.followed_after.append(request.query.get("starting_after"))
            await connection.start_stream()
            await connection.chunk(DONE + COMPLETED)
            await connection.end_stream()
        elif request.path.startswith("/v1/responses/"):
            self.reads += 1
            await connection.answer(200, RESPONSE)
        else:
            await connection.answer(200, {"id": "conv_1", "object": "conversation", "created_at": 1})


@pytest.mark.parametrize("adapter", ["direct", "sdk"])
@pytest.mark.parametrize("kind", STREAMS)
async def test_it_goes_on_after_the_last_event_that_was_read(start, kind, adapter):
    chunks, after = STREAMS[kind]
    upstream = Breaking(chunks)
    async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_adapter=adapter) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert upstream.followed_after == [after]


@pytest.mark.parametrize("kind", IN_ONE_PIECE)
async def test_an_answer_in_one_piece(start, kind):
    upstream = Breaking([IN_ONE_PIECE[kind]])
    async with fake_upstream(upstream) as fake, start(url=fake.url) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert (upstream.followed_after, upstream.reads) == ([], 0)


@pytest.mark.parametrize("adapter", ["direct", "sdk"])
async def test_nobody_is_woken_for_what_is_not_shown_and_nothing_stays(start, adapter, monkeypatch):
    streams, looks = [], []
    make, look = RunStream.__init__, RunStream._next

    def making(self, *args, **options):
        make(self, *args, **options)
        streams.append(weakref.ref(self))

    def looking(self):
        looks.append(1)
        return look(self)

    monkeypatch.setattr(RunStream, "__init__", making)
    monkeypatch.setattr(RunStream, "_next", looking)
    deltas = [event(number, DELTA, delta="a") for number in range(1, 20)]
    upstream = Breaking([CREATED, *deltas, WHOLE])
    gc.disable()
    try:
        async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_adapter=adapter) as service:
            answer = await service.client.post("chat", json={"message": "hi"})
            alive = [stream for stream in streams if stream() is not None]
    finally:
        gc.enable()
    assert answer.json()["message"] == "all of it"
    assert (len(looks), len(streams), alive) == (2, 1, [])
