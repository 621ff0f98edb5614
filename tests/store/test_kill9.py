"""SIGKILL at every point between the model's answer and its last event: a turn is stored once, or not at all.

`KILL9_ROUNDS=200` for the long run; a round is one death, a new start, and the thread's next turn.
"""

import asyncio
import os
import random
from collections import Counter
from itertools import product

import httpx2
import pytest
from sqlalchemy import create_engine, text

from tests.store.killed_service import (
    AFTER_COMMIT,
    BEFORE_COMMIT,
    CREATED,
    LEASE_SECONDS,
    WHILE_STREAMING,
    KillableService,
    running,
)
from tests.support import ASSISTANT, TLS, embedded_upstream, new_thread

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]
ROUNDS = int(os.environ.get("KILL9_ROUNDS", "12"))
"""How often each engine is tried, shared by the two kinds of upstream."""

DOUBLED = "SELECT response, output_index FROM items GROUP BY 1, 2 HAVING count(*) > 1"
STREAMED = ("stream", "run")
DEATHS = [
    *product(("json", *STREAMED), (*BEFORE_COMMIT, *AFTER_COMMIT)),
    *product(STREAMED, WHILE_STREAMING),
]


def deaths(count):
    """So many ways to die, each once before any comes again."""
    draw = random.Random(count)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        found += draw.sample(DEATHS, len(DEATHS))
    return found[:count]


def texts_after(kind, way, point):
    """The thread's new texts that are right after a death: the question and its answer, in their numbers."""
    nothing, question, whole = 0, 1, 2
    if point in AFTER_COMMIT:
        return {whole}
    if way == "json" or point == CREATED:
        return {nothing}
    if kind == "nothing":
        return {question}
    if way == "stream" and point in WHILE_STREAMING:
        # The upstream may have the answer by now. Else it cancels what nobody reads, and whoever looks
        # before it notices that keeps the question.
        return {nothing, question, whole}
    # The upstream has the answer, and whoever comes next stores it.
    return {whole}


async def ask_to_die(service, thread_id, way, question):
    """Send the turn that kills the service."""
    message = {"role": "user", "content": question}
    run = {"assistant_id": ASSISTANT, "additional_messages": [message], "stream": True}
    path, body = {
        "json": ("chat", {"message": question, "thread_id": thread_id}),
        "stream": ("chat", {"message": question, "thread_id": thread_id, "stream": True}),
        "run": (f"threads/{thread_id}/runs", run),
    }[way]
    async with _client(service) as client:
        # `before-last-event` may be after the last byte, but never after the end of the body.
        with pytest.raises(httpx2.TransportError):
            await client.post(path, json=body)


async def next_turn(client, thread_id):
    """Take the thread's next turn, which a dead process keeps others from for no longer than its lease."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE_SECONDS + 1
    while (response := await _chat(client, thread_id)).status_code == 409:
        assert loop.time() < deadline, response.text
    assert response.status_code == 200, response.text


async def texts_of(client, thread_id):
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [message["content"][0]["text"]["value"] for message in page["data"]]


async def _chat(client, thread_id):
    return await client.post("chat", json={"message": "next", "thread_id": thread_id})


def _client(service):
    return httpx2.AsyncClient(base_url=service.url, timeout=30, verify=TLS)


def doubled(store_url):
    """The rows that stand there twice."""
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.connect() as connection:
            return connection.execute(text(DOUBLED)).all()
    finally:
        engine.dispose()


@pytest.mark.parametrize("kind", ["nothing", "responses"])
async def test_a_killed_turn_is_stored_once_or_not(kind, store_url, tmp_path):
    found: Counter[int] = Counter()
    async with embedded_upstream(kind=kind) as url:
        service = KillableService(tmp_path, OPENAI_BASE_URL=url, STORE_URL=store_url)
        with running(service):
            async with _client(service) as client:
                # From the first turn on it is known whether the upstream stores responses.
                await next_turn(client, await new_thread(client))
            for number, (way, point) in enumerate(deaths(ROUNDS // 2)):
                question = f"die at {point}: {number}"
                async with _client(service) as client:
                    thread_id = await new_thread(client, "before")
                await ask_to_die(service, thread_id, way, question)
                assert service.wait() == -9, (way, point)
                service.start()
                async with _client(service) as client:
                    await next_turn(client, thread_id)
                    texts = await texts_of(client, thread_id)
                turn = [question, f"You said: {question}"]
                kept = len(texts) - 3
                assert kept in texts_after(kind, way, point), (way, point, texts)
                assert texts == ["before", *turn[:kept], "next", "You said: next"]
                found[kept] += 1
            assert doubled(store_url) == []
    print(f"{kind}: {dict(found)} kept")  # noqa: T201 - the long run's figures
