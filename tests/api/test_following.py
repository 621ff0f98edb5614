"""A response in the background whose stream ended too soon is followed, as long as there is hope for it."""

import asyncio
from typing import Any

import pytest

from tests.api.test_stream_faults import ANSWER, PROMPT, Foreground
from tests.api.test_streams import PLAIN, streamed_events
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, Frames, frames, names, new_thread, text_of

SILENT, TOLD = "silent", "told"


class Following(Foreground):
    """Breaks its stream off and says to those who look and follow what it was told to say.

    Args:
        status: what the response is found to be.
        follows: what those hear who follow: a status, silence, or the answer's end.
        looks: the statuses of the first answers to those who look; 200 after them.

    """

    def __init__(self, status: str, *follows: int | str, looks: tuple[int, ...] = ()) -> None:
        super().__init__("completed")
        self._status = status
        self._follows = list(follows)
        self._looks = list(looks)
        self.asked: list[dict[str, str]] = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        if not request.path.startswith("/v1/responses/"):
            await super().__call__(request, connection)
        elif request.query:
            self.asked.append(request.query)
            await self.follow(connection, self._follows.pop(0))
        elif request.method == "POST":
            await connection.answer(200, {**self.ended, "status": "cancelled"})
        else:
            found = {**self.ended, "status": self._status}
            await connection.answer(self._looks.pop(0) if self._looks else 200, found)

    async def follow(self, connection: Connection, how: int | str) -> None:
        if how == SILENT:
            await connection.until_gone()
        elif how == TOLD:
            ended = {"type": "response.completed", "response": self.ended, "sequence_number": 5}
            await self.send(connection, [ended])
        else:
            await connection.answer(int(how))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("app.core.upstream.retries._BUSY_SECONDS", 0.01)


@pytest.fixture
def told_by(start, adapter):
    """What a client is told who streams a run of an upstream, and what was asked of that."""

    async def told(upstream: Following, **settings: Any) -> tuple[Frames, list[Request]]:
        async with (
            fake_upstream(upstream) as fake,
            start(url=fake.url, is_served=True, upstream_adapter=adapter, **settings) as service,
        ):
            return await streamed_events(service.client, PROMPT), fake.requests

    return told


@pytest.mark.parametrize(
    ("follows", "looks"),
    [
        ((500, TOLD), ()),
        ((429, TOLD), ()),
        ((504, TOLD), ()),
        ((TOLD,), (500, 500)),
        ((TOLD,), (429,)),
        ((TOLD,), (504,)),
    ],
)
async def test_one_refusal_is_not_the_last_word(told_by, follows, looks):
    upstream = Following("in_progress", *follows, looks=looks)
    events, _ = await told_by(upstream)
    assert names(events) == PLAIN
    assert text_of(events) == ANSWER
    assert upstream.asked == [{"stream": "true", "starting_after": "4"}] * len(follows)


@pytest.mark.parametrize(
    ("status", "follows"), [("in_progress", (SILENT, SILENT, SILENT, TOLD)), ("completed", (SILENT,))]
)
async def test_silence_lasts_until_the_response_has_ended(told_by, status, follows):
    upstream = Following(status, *follows)
    events, _ = await told_by(upstream, openai_timeout_seconds=0.2)
    assert names(events) == PLAIN
    assert text_of(events) == ANSWER
    assert len(upstream.asked) == len(follows)


async def test_nobody_follows_a_response_that_was_cancelled(told_by):
    upstream = Following("cancelled")
    events, _ = await told_by(upstream)
    assert names(events)[-2:] == ["thread.run.cancelled", "done"]
    assert upstream.asked == []


async def test_a_gateway_that_gives_up_at_once_is_not_asked_for_ever(told_by):
    upstream = Following("in_progress", *[504] * 20)
    events, requests = await told_by(upstream)
    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert len(upstream.asked) == 2
    assert requests[-1].path == "/v1/responses/resp_1/cancel"


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_a_connection_that_was_long_without_a_word_was_silent(told_by, monkeypatch, seconds):
    monkeypatch.setattr("app.core.runs.reconnects._SILENCE_SECONDS", seconds)
    upstream = Following("in_progress", *[504] * 6, TOLD)
    events, _ = await told_by(upstream)
    is_whole = names(events) == PLAIN
    assert is_whole == (seconds == 0)


class Pausing(Following):
    """Says nothing for a while before its stream breaks off."""

    async def send(self, connection: Connection, events: list[dict[str, object]]) -> None:
        await connection.start_stream()
        for event in events:
            await connection.chunk(self.frame(event))
        await asyncio.sleep(0.4)
        await connection.end_stream()


async def test_an_earlier_silence_does_not_excuse_those_who_give_up_at_once(told_by, monkeypatch):
    monkeypatch.setattr("app.core.runs.reconnects._SILENCE_SECONDS", 0.4)
    upstream = Pausing("in_progress", *[504] * 200)
    events, _ = await told_by(upstream)
    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert len(upstream.asked) < 50


class Garbling(Following):
    """Sends garbage behind the first event, in one piece with it, and waits before it says more."""

    def __init__(self) -> None:
        super().__init__("completed", TOLD)
        self.may_go_on = asyncio.Event()

    async def send(self, connection: Connection, events: list[dict[str, object]]) -> None:
        if not self.asked:
            await connection.start_stream()
            await connection.chunk(self.frame(events[0]) + b"event: response.output_text.delta\ndata: {\n\n")
            await connection.end_stream()
        else:
            await self.may_go_on.wait()
            await super().send(connection, events)


async def test_what_came_before_garbage_does_not_wait_for_what_comes_of_it(start, adapter):
    upstream = Garbling()
    async with (
        fake_upstream(upstream) as fake,
        start(url=fake.url, is_served=True, upstream_adapter=adapter) as service,
    ):
        thread = await new_thread(service.client, PROMPT)
        body = {"assistant_id": ASSISTANT, "stream": True}
        async with service.client.stream("POST", f"threads/{thread}/runs", json=body) as response:
            pieces = response.aiter_text()
            text = ""
            while "thread.run.created" not in text:
                text += await anext(pieces)
            upstream.may_go_on.set()
            text += "".join([piece async for piece in pieces])
    assert names(frames(text)) == PLAIN
