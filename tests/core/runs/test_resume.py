"""Following a run again: what is left of it is told once, and watching it never harms it."""

import json

import pytest

from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import (
    Json,
    finished_run,
    frames,
    ids,
    names,
    new_run,
    new_thread,
    run_to,
)

LIVE: Json = {
    "id": "resp_1",
    "object": "response",
    "status": "in_progress",
    "created_at": 4_000_000_000,
    "output": [],
}


def events_path(run):
    return f"threads/{run['thread_id']}/runs/{run['id']}/events"


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("beyond", [0, 1, 1_000])
async def test_after_its_last_event_nothing_is_left_to_tell(start, mode, beyond):
    async with start(is_served=True, upstream_background=mode) as service:
        run = await finished_run(service.client, "hi")
        whole = (await service.client.get(events_path(run))).text
        after = ids(whole)[-1] + beyond
        rest = (await service.client.get(events_path(run), params={"starting_after": after})).text
    assert names(frames(rest)) == ["done"]


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_every_number_divides_the_events_in_two(start, mode):
    async with start(is_served=True, upstream_background=mode) as service:
        run = await finished_run(service.client, "one two")
        whole = (await service.client.get(events_path(run))).text
        for number in ids(whole):
            mark = f"id: {number}\n"
            first = whole[: whole.index("\n\n", whole.index(mark)) + 2]
            rest = await service.client.get(events_path(run), params={"starting_after": number})
            assert first + rest.text == whole


async def test_a_waiting_run_that_was_cancelled_is_told_as_cancelled(live):
    run = await finished_run(live, "tool: weather", "requires_action")
    cancelled = await live.post(f"threads/{run['thread_id']}/runs/{run['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    told = names(frames((await live.get(events_path(run))).text))
    assert told[-2:] == ["thread.run.cancelled", "done"]
    assert "thread.run.step.cancelled" in told


async def test_a_run_expires_also_where_it_is_only_watched(start):
    async with start(is_served=True, run_expires_seconds=2, knobs={"token_ms": 200}) as service:
        client = service.client
        run = await new_run(client, await new_thread(client, "slow: words"))
        told = names(frames((await client.get(events_path(run))).text))
        assert told[-2:] == ["thread.run.expired", "done"]
        assert (await run_to(client, run, "expired"))["status"] == "expired"


class Watched:
    """An upstream whose response lives on while every stream of it breaks off, and which may fail reads."""

    def __init__(self) -> None:
        self.fails = False
        self.follows = True
        self.live_looks = 4

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.startswith("/v1/responses/") and "stream" in request.query:
            if not self.follows:
                await connection.answer(400, {"error": {"message": "not streamed", "param": "stream"}})
                return
            await connection.start_stream()
            event = {"type": "response.created", "sequence_number": 0, "response": LIVE}
            await connection.chunk(f"event: response.created\ndata: {json.dumps(event)}\n\n".encode())
            await connection.end_stream()
        elif request.path.startswith("/v1/responses/"):
            self.live_looks -= 1
            found = LIVE if self.live_looks > 0 or not self.follows else {**LIVE, "status": "incomplete"}
            await connection.answer(500 if self.fails else 200, found)
        else:
            await connection.answer(200, {"id": "conv_1", "created_at": 1, "metadata": {}})


async def test_a_watcher_whose_stream_breaks_off_sees_the_end_and_stops_nothing(start, adapter):
    async with (
        fake_upstream(Watched()) as fake,
        start(url=fake.url, is_served=True, upstream_adapter=adapter) as service,
    ):
        told = frames((await service.client.get("threads/thread_1/runs/run_1/events")).text)
    assert names(told)[-2:] == ["thread.run.incomplete", "done"]
    assert not [request for request in fake.requests if request.path.endswith("/cancel")]


async def test_a_polled_run_whose_upstream_fails_says_so(start):
    watched = Watched()
    watched.follows = False
    async with fake_upstream(watched) as fake, start(url=fake.url, is_served=True) as service:
        path = "threads/thread_1/runs/run_1/events"
        async with service.client.stream("GET", path) as response:
            read = ""
            async for text in response.aiter_text():
                read += text
                watched.fails = True
    told = frames(read)
    assert names(told) == ["thread.run.created", "thread.run.queued", "error", "done"]
    assert told[-2][1]["error"]["code"] == "upstream_failed"
