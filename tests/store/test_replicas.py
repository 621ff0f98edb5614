"""Three replicas on one PostgreSQL, restarted one after the other while clients share threads.

`REPLICA_TURNS=5000` for the long run.
"""

import asyncio
import itertools
import os
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial

import httpx2
import pytest
from sqlalchemy import create_engine, select

from app.core.store.tables import ITEMS
from tests.store.killed_service import KillableService, running
from tests.support import TLS, embedded_upstream, frames, new_thread, until

pytestmark = [pytest.mark.slow, pytest.mark.needs_postgres, pytest.mark.timeout(3_600)]
TURNS = int(os.environ.get("REPLICA_TURNS", "150"))
REPLICAS, CLIENTS, THREADS = 3, 8, 5
RETRIED = {409, 503}


class Load:
    """Turns on shared threads, each sent until a replica has answered it."""

    def __init__(self, replicas, thread_ids):
        self.tally: Counter[str] = Counter()
        self.answered = []
        self.is_rolling = True
        self._replicas = itertools.cycle(replicas)
        self._threads = itertools.cycle(thread_ids)
        self._numbers = itertools.count()

    async def work(self):
        """Take turns until there are enough, and every replica was restarted."""
        async with _client() as client:
            while (number := next(self._numbers)) < TURNS or self.is_rolling:
                question, thread_id = f"question {number}", next(self._threads)
                send = partial(self._is_answered, client, thread_id, question, is_streamed=number % 2 == 1)
                await until(send)
                self.answered.append(question)

    async def _is_answered(self, client, thread_id, question, *, is_streamed):
        body = {"message": question, "thread_id": thread_id, "stream": is_streamed}
        try:
            response = await client.post(f"{next(self._replicas).url}chat", json=body)
        except httpx2.ConnectError:
            self.tally["refused"] += 1
            return False
        except httpx2.TransportError:
            # A connection that the replica took and closed unread, perhaps: the thread tells.
            self.tally["cut"] += 1
            return await self._stands_there(client, thread_id, question)
        if response.status_code in RETRIED:
            self.tally[response.json()["error"]["code"]] += 1
            return False
        assert response.status_code == 200, response.text
        told = frames(response.text)[-1] if is_streamed else ("done", response.json())
        assert (told[0], told[1].get("message")) == ("done", f"You said: {question}"), told
        return True

    async def _stands_there(self, client, thread_id, question):
        while True:
            try:
                url = f"{next(self._replicas).url}threads/{thread_id}/messages"
                page = (await client.get(url)).json()
            except httpx2.TransportError:
                continue
            return question in [message["content"][0]["text"]["value"] for message in page["data"]]


def _client():
    # A connection for each request: a replica that stops closes idle ones, which clients must expect.
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(timeout=60, verify=TLS, limits=limits)


async def roll(replicas, load):
    """Restart one replica after the other, all of them at least once."""
    for number, replica in enumerate(itertools.cycle(replicas)):
        if number >= REPLICAS and len(load.answered) >= TURNS:
            break
        await asyncio.to_thread(replica.stop)
        await asyncio.to_thread(replica.start)
        load.tally["restarts"] += 1
        load.is_rolling = number + 1 < REPLICAS


def stored_threads(store_url):
    """The texts of each thread's messages in their order, with their roles."""
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    threads: dict[str, list[tuple[str, str]]] = {}
    with engine.connect() as connection:
        query = select(ITEMS.c.conversation_id, ITEMS.c.body)
        for row in connection.execute(query.order_by(ITEMS.c.conversation_id, ITEMS.c.position)):
            item = httpx2.Response(200, text=row.body).json()
            threads.setdefault(row.conversation_id, []).append((item["role"], item["content"][0]["text"]))
    engine.dispose()
    return threads.values()


@pytest.mark.parametrize("kind", ["nothing", "responses"])
async def test_a_rolling_restart_loses_and_mixes_nothing(kind, postgres_url, tmp_path):
    started = time.monotonic()
    with ExitStack() as stack:
        async with embedded_upstream(kind=kind) as url:
            made = [
                KillableService(tmp_path, OPENAI_BASE_URL=url, STORE_URL=postgres_url, LEASE_SECONDS="15")
                for _ in range(REPLICAS)
            ]
            replicas = [stack.enter_context(running(replica)) for replica in made]
            async with httpx2.AsyncClient(base_url=replicas[0].url, verify=TLS) as client:
                thread_ids = [await new_thread(client) for _ in range(THREADS)]
            load = Load(replicas, thread_ids)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(roll(replicas, load))
                for _ in range(CLIENTS):
                    tasks.create_task(load.work())
    questions = []
    for messages in stored_threads(postgres_url):
        for asked, said in zip(messages[::2], messages[1::2], strict=True):
            assert asked[0] == "user"
            assert said == ("assistant", f"You said: {asked[1]}")
            questions.append(asked[1])
    assert Counter(questions) == Counter(load.answered)
    figures = {"turns": len(questions), "seconds": round(time.monotonic() - started)}
    print(f"{kind}: {figures | dict(load.tally)}")  # noqa: T201 - the long run's figures
