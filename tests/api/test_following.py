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
    monkeypatch.setattr("app.core.runs.follow_background._LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("app.core.upstream.retries._BACKOFF_SECONDS", (0.0, 0.0))


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


class Polled(Following):
    """Will not open its stream again, as OpenAI does after some minutes, and is at work for so many looks."""

    def __init__(self, refusal: int, looks: int) -> None:
        super().__init__("in_progress", *[refusal] * 1_000)
        self._live_looks = looks

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.startswith("/v1/responses/") and not request.query:
            self._live_looks -= 1
            if not self._live_looks:
                self._status = "completed"
        await super().__call__(request, connection)


async def test_a_stream_that_the_upstream_will_not_reopen_is_polled_to_its_end(told_by):
    upstream = Polled(400, looks=5)
    events, requests = await told_by(upstream)
    assert names(events) == PLAIN
    assert text_of(events) == ANSWER
    assert len(upstream.asked) == 1
    assert not any(request.path.endswith("/cancel") for request in requests)


async def test_a_gateway_that_gives_up_at_once_does_not_end_the_run(told_by):
    upstream = Polled(504, looks=5)
    events, requests = await told_by(upstream)
    assert names(events) == PLAIN
    assert text_of(events) == ANSWER
    assert not any(request.path.endswith("/cancel") for request in requests)


@pytest.mark.parametrize("failure", [500, 502, 503, 429, "gone"])
async def test_an_upstream_that_is_away_for_a_while_costs_a_pause(told_by, failure):
    upstream = Away(failure, looks=12)
    events, requests = await told_by(upstream)
    assert names(events) == PLAIN
    assert text_of(events) == ANSWER
    assert not any(request.path.endswith("/cancel") for request in requests)


async def test_an_upstream_that_stays_away_ends_the_stream_and_not_the_run(told_by, monkeypatch):
    monkeypatch.setattr("app.core.runs.follow_background._LONGEST_OUTAGE_SECONDS", 0.1)
    events, requests = await told_by(Away(500, looks=1_000_000))
    assert names(events)[-2:] == ["error", "done"]
    assert not any(request.path.endswith("/cancel") for request in requests)


class Away(Following):
    """Fails so many reads of its response, then knows that it has ended."""

    def __init__(self, failure: int | str, looks: int) -> None:
        super().__init__("completed", TOLD)
        self._failure = failure
        self._failing_looks = looks

    async def __call__(self, request: Request, connection: Connection) -> None:
        is_look = request.path.startswith("/v1/responses/") and not request.query
        if is_look and self._failing_looks:
            self._failing_looks -= 1
            if self._failure == "gone":
                connection.close()
            else:
                await connection.answer(int(self._failure))
        else:
            await super().__call__(request, connection)


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
