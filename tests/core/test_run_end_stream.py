"""A JSON answer whose upstream stream breaks goes on after what was read, and never beyond it."""

import asyncio
import gc
import json
import weakref
from functools import partial

import pytest

from app.core.runs.follow import RunStream
from app.core.upstream import lull
from app.core.upstream.direct import DirectStream
from app.translate.run_end import RunEndReader
from app.utils.sse import SSEDecoder
from tests.fake_upstream import fake_upstream
from tests.support import Json, until, with_low_marks

CONVERSATION: Json = {"id": "conv_1", "object": "conversation", "created_at": 1}
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


@pytest.fixture
def heard(monkeypatch):
    """How many bytes of streams the service has taken, each slice as it comes."""
    sizes = []

    def watch(owner, name, has_taken):
        call = getattr(owner, name)

        def watched(self, chunk):
            result = call(self, chunk)
            sizes.append(len(chunk) if has_taken(result) else 0)
            return result

        monkeypatch.setattr(owner, name, watched)

    watch(RunEndReader, "end_of", bool)
    watch(SSEDecoder, "passes", bool)
    watch(SSEDecoder, "feed", lambda _: True)
    return lambda: sum(sizes)


@pytest.fixture
def each_alone(monkeypatch):
    """What was sent alone is read alone."""
    monkeypatch.setattr(lull, "_KNOWS_LOW_MARKS", False)


class Breaking:
    """Streams chunks, each once the one before was `heard`, and breaks off.

    The rest is for who follows the response.
    """

    def __init__(self, chunks, heard):
        self._chunks = chunks
        self._heard = heard
        self.followed_after = []
        self.reads = 0

    def _is_heard(self, sent):
        return self._heard() >= sent

    async def __call__(self, request, connection):
        if request.path == "/v1/conversations":
            await connection.answer(200, CONVERSATION)
        elif request.path == "/v1/responses":
            await connection.start_stream()
            sent = 0
            for chunk in self._chunks:
                await connection.chunk(chunk)
                sent += len(chunk)
                await until(partial(self._is_heard, sent))
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
            await connection.answer(200, CONVERSATION)


@pytest.mark.usefixtures("each_alone")
@pytest.mark.parametrize("adapter", ["direct", "sdk"])
@pytest.mark.parametrize("kind", STREAMS)
async def test_it_goes_on_after_the_last_event_that_was_read(start, heard, kind, adapter):
    chunks, after = STREAMS[kind]
    upstream = Breaking(chunks, heard)
    async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_adapter=adapter) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert upstream.followed_after == [after]


class Unheard(Breaking):
    """Waits for nobody after the first chunk."""

    def _is_heard(self, sent):
        return sent > len(self._chunks[0]) or super()._is_heard(sent)


@pytest.mark.usefixtures("each_alone")
@pytest.mark.parametrize("adapter", ["direct", "sdk"])
async def test_nothing_counts_as_read_behind_an_event_that_cannot_be_read(start, heard, adapter, monkeypatch):
    prime = RunStream.prime

    async def dawdling(self, before):
        await prime(self, before)
        await asyncio.sleep(0.3)

    monkeypatch.setattr(RunStream, "prime", dawdling)
    garbled = b"event: response.output_item.done\ndata: {oops\n\n"
    upstream = Unheard([CREATED + garbled, event(2, DELTA, delta="b")], heard)
    async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_adapter=adapter) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert upstream.followed_after == ["0"]


@pytest.mark.parametrize("kind", IN_ONE_PIECE)
async def test_an_answer_in_one_piece(start, heard, kind):
    upstream = Breaking([IN_ONE_PIECE[kind]], heard)
    async with fake_upstream(upstream) as fake, start(url=fake.url) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
    assert (upstream.followed_after, upstream.reads) == ([], 0)


@pytest.mark.usefixtures("each_alone")
@pytest.mark.parametrize("adapter", ["direct", "sdk"])
async def test_nobody_is_woken_for_what_is_not_shown_and_nothing_stays(start, heard, adapter, monkeypatch):
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
    upstream = Breaking([CREATED, *deltas, WHOLE], heard)
    gc.disable()
    try:
        async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_adapter=adapter) as service:
            answer = await service.client.post("chat", json={"message": "hi"})
            alive = [stream for stream in streams if stream() is not None]
    finally:
        gc.enable()
    assert answer.json()["message"] == "all of it"
    assert (len(looks), len(streams), alive) == (2, 1, [])


@pytest.fixture
def marks(monkeypatch):
    """How many bytes the connection has to hold before it is read, each time that this changes."""
    sizes = []
    mark = lull.Lull._mark

    def marking(self, size):
        sizes.append(size)
        mark(self, size)

    monkeypatch.setattr(lull.Lull, "_mark", marking)
    monkeypatch.setattr(lull, "_MOST_SECONDS", 1_000)
    return sizes


class Telling:
    """Streams chunks, each once the one before has come so far as it says."""

    def __init__(self, *steps):
        self._steps = steps

    async def __call__(self, request, connection):
        if request.path != "/v1/responses":
            await connection.answer(200, CONVERSATION)
            return
        await connection.start_stream()
        for chunk, condition in self._steps:
            await connection.chunk(chunk)
            await until(condition)
        await connection.end_stream()


DATA_BYTES = len(CREATED.partition(b"data: ")[2].strip())
LONG_ITEM = {
    **ANSWER,
    "content": [{"type": "output_text", "text": "all of it", "annotations": [], "x": "x" * 900}],
}


@with_low_marks
@pytest.mark.parametrize("end", ["whole", "in two parts", "shorter than an item"])
async def test_tokens_come_together_and_the_end_comes_at_once(start, heard, marks, end):
    def is_up():
        return marks[-1:] == [DATA_BYTES]

    def is_down():
        return marks[-1] == 1

    item = event(3, "response.output_item.done", output_index=0, item=LONG_ITEM)
    rest = {
        "whole": [(event(2, DELTA, delta="b"), is_up), (WHOLE, is_down)],
        "in two parts": [(WHOLE[:-20], is_down), (WHOLE[-20:], is_down)],
        "shorter than an item": [(item, is_down), (event(4, DELTA, delta="b"), is_up), (COMPLETED, is_down)],
    }[end]
    upstream = Telling((CREATED, heard), (event(1, DELTA, delta="a"), is_up), *rest)
    async with fake_upstream(upstream) as fake, start(url=fake.url) as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")


async def test_a_read_in_the_foreground_is_not_overtaken(start, heard, monkeypatch):
    """There a task reads: what comes between its end and whoever waits for it has to wait, too."""
    tail = event(1, DELTA, delta="a") + WHOLE
    cut = len(tail) // 3
    follows = [tail[:cut], tail[cut:]]
    read = DirectStream.__anext__

    async def reading(self):
        chunk = await read(self)
        if follows:
            data = follows.pop(0)
            framed = b"%x\r\n%b\r\n" % (len(data), data)
            asyncio.get_running_loop().call_soon(self._connection.data_received, framed)
        return chunk

    monkeypatch.setattr(DirectStream, "__anext__", reading)
    upstream = Telling((CREATED, lambda: not follows))
    async with fake_upstream(upstream) as fake, start(url=fake.url, upstream_background="poll") as service:
        answer = (await service.client.post("chat", json={"message": "hi"})).json()
    assert (answer["message"], answer["status"]) == ("all of it", "completed")
