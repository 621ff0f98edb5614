"""PostgreSQL goes away or hangs while turns are made: they wait, or answer 503, and nothing is lost.

`AWAY_SECONDS=10` for the long run, with the service's own limits.
"""

import asyncio
import os
import time
from collections import Counter

import pytest

from tests.store.support import chat, rows_of
from tests.support import embedded_upstream, error_of, frames, names, new_thread, until

pytestmark = [pytest.mark.needs_postgres, pytest.mark.slow]
AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "1"))
CLIENTS = 4
DOUBLED = "SELECT response, output_index FROM items GROUP BY 1, 2 HAVING count(*) > 1"


@pytest.fixture
def limits(monkeypatch):
    """Limits in the same proportion to the absence as the real ones have to 10 seconds."""
    if AWAY_SECONDS < 5:
        monkeypatch.setattr("app.core.store.database._ATTEMPT_SECONDS", 0.5)


@pytest.fixture
def short_wait(monkeypatch):
    """A service that gives up before PostgreSQL is back."""
    monkeypatch.setattr("app.core.store.database._ATTEMPT_SECONDS", 0.2)
    monkeypatch.setattr("app.core.store.database._WAIT_SECONDS", 0.4)


@pytest.fixture
async def live(start, postgres_url):
    async with (
        embedded_upstream(kind="nothing") as url,
        start(url=url, is_served=True, conversations="own", store_url=postgres_url) as service,
    ):
        yield service.client


async def _goes(server):
    await server.stop()


async def _comes_back(server):
    await server.start()


async def _hangs(server):
    server.pause()


async def _goes_on(server):
    server.resume()


ABSENCES = pytest.mark.parametrize(
    ("leave", "come"), [(_goes, _comes_back), (_hangs, _goes_on)], ids=["stopped", "hanging"]
)


class Load:
    """Clients that chat on threads of their own, and send a question again after a 503."""

    def __init__(self, client):
        self.client = client
        self.tally: Counter[int] = Counter()
        self.longest = 0.0
        self.is_over = False

    async def work(self):
        """Chat until it is over; return the thread and the questions that were answered."""
        asked: list[str] = []
        thread_id = await new_thread(self.client)
        while not self.is_over:
            question = f"question {len(asked)}"
            await until(lambda: self._is_answered(thread_id, question))  # noqa: B023 - awaited at once
            asked.append(question)
        return thread_id, asked

    async def _is_answered(self, thread_id, question):
        started = time.monotonic()
        body = {"message": question, "thread_id": thread_id}
        response = await self.client.post("chat", json=body)
        self.longest = max(self.longest, time.monotonic() - started)
        self.tally[response.status_code] += 1
        if response.status_code == 200:
            return True
        assert response.status_code in {409, 503}, response.text
        assert response.headers["retry-after"]
        return False


async def _texts(client, thread_id):
    path, params = f"threads/{thread_id}/messages", {"order": "asc", "limit": 100}
    found = []
    while True:
        page = (await client.get(path, params=params)).json()
        found += [message["content"][0]["text"]["value"] for message in page["data"]]
        if not page["has_more"]:
            return found
        params["after"] = page["last_id"]


@ABSENCES
async def test_turns_wait_for_it_and_none_is_lost(live, limits, postgres, postgres_url, leave, come):
    load = Load(live)
    working = [asyncio.create_task(load.work()) for _ in range(CLIENTS)]
    await until(lambda: load.tally[200] >= 3 * CLIENTS)
    await leave(postgres)
    await asyncio.sleep(AWAY_SECONDS)
    answered = load.tally[200]
    await come(postgres)
    await until(lambda: load.tally[200] >= answered + 3 * CLIENTS)
    load.is_over = True
    for thread_id, asked in await asyncio.gather(*working):
        texts = await _texts(live, thread_id)
        assert texts == [text for question in asked for text in (question, f"You said: {question}")]
    assert rows_of(postgres_url, DOUBLED) == []
    print(f"{dict(load.tally)}, longest {load.longest:.1f} s")  # noqa: T201 - the long run's figures


async def test_a_restart_goes_unnoticed(live, postgres):
    load = Load(live)
    working = [asyncio.create_task(load.work()) for _ in range(CLIENTS)]
    await until(lambda: load.tally[200] >= CLIENTS)
    answered = load.tally[200]
    await postgres.restart()
    await until(lambda: load.tally[200] >= answered + 3 * CLIENTS)
    load.is_over = True
    await asyncio.gather(*working)
    assert set(load.tally) == {200}


@ABSENCES
async def test_a_stream_ends_well_after_it(live, limits, postgres, leave, come):
    thread_id = (await chat(live, "one"))["thread_id"]
    body = {"message": "slow:30", "thread_id": thread_id, "stream": True}
    async with live.stream("POST", "chat", json=body) as stream:
        lines = stream.aiter_lines()
        while "delta" not in await anext(lines):
            continue
        await leave(postgres)
        rest = asyncio.create_task(_all(lines))
        await asyncio.sleep(AWAY_SECONDS)
        await come(postgres)
        events = frames("event: delta\n" + await rest)
    assert names(events) == ["delta", "done"]
    assert (await _texts(live, thread_id))[-1] == events[-1][1]["message"]


@ABSENCES
async def test_a_longer_absence_is_503_and_ends_streams(live, short_wait, postgres, leave, come):
    thread_id = (await chat(live, "one"))["thread_id"]
    body = {"message": "slow:10", "thread_id": thread_id, "stream": True}
    async with live.stream("POST", "chat", json=body) as stream:
        lines = stream.aiter_lines()
        while "delta" not in await anext(lines):
            continue
        await leave(postgres)
        try:
            refused = await live.post("chat", json={"message": "two"})
            assert error_of(refused, 503)["code"] == "store_away"
            assert refused.headers["retry-after"]
            events = frames("event: delta\n" + await _all(lines))
        finally:
            await come(postgres)
    assert names(events) == ["delta", "error"]
    assert events[-1][1]["error"]["code"] == "store_away"


async def _all(lines):
    return "\n".join([line async for line in lines])
