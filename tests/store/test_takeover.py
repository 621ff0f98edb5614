"""Two replicas on one PostgreSQL: what one has begun, the other reads, ends, goes on with, or waits for."""

import asyncio
from functools import partial

import pytest

from tests.api.test_tools import outputs_for, submit, waiting_run
from tests.store.killed_service import KillableService, running
from tests.support import (
    ASSISTANT,
    embedded_upstream,
    error_of,
    frames,
    names,
    new_run,
    new_thread,
    run_to,
    until,
)

pytestmark = pytest.mark.needs_postgres


@pytest.fixture(params=["nothing", "responses"])
async def upstream(request):
    async with embedded_upstream(kind=request.param) as url:
        yield url


@pytest.fixture
async def pair(start, upstream, postgres_url):
    """Clients of two replicas; the second one waits only briefly for a busy thread."""
    common = {"url": upstream, "is_served": True, "conversations": "own", "store_url": postgres_url}
    async with start(**common) as one, start(**common, lock_wait_seconds=0.1) as other:
        yield one.client, other.client


async def _chat(client, thread_id, message="next"):
    return await client.post("chat", json={"message": message, "thread_id": thread_id})


async def _runs(client, thread_id):
    return (await client.get(f"threads/{thread_id}/runs")).json()["data"]


async def _texts(client, thread_id):
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [message["content"][0]["text"]["value"] for message in page["data"]]


async def test_a_run_is_polled_at_the_other(pair):
    one, other = pair
    run = await new_run(one, await new_thread(one, "long:50"))
    ended = await run_to(other, run, "completed")
    assert ended["usage"]["completion_tokens"] > 0
    assert len(await _texts(other, run["thread_id"])) == 2


async def test_a_run_is_cancelled_at_the_other(pair):
    one, other = pair
    thread_id = await new_thread(one, "slow: go")
    run = await new_run(one, thread_id)
    cancelled = await other.post(f"threads/{thread_id}/runs/{run['id']}/cancel")
    assert cancelled.json()["status"] in {"cancelling", "cancelled"}
    for client in pair:
        await run_to(client, run, "cancelled")
    assert (await _chat(other, thread_id)).json()["message"] == "You said: next"
    assert (await _texts(one, thread_id))[0] == "slow: go"


async def test_tool_outputs_are_taken_at_the_other(pair):
    one, other = pair
    run = await waiting_run(one)
    ended = await run_to(other, (await submit(other, run, outputs_for(run))).json(), "completed")
    assert ended["id"] == run["id"]
    for client in pair:
        assert await _texts(client, run["thread_id"]) == ["use the tool", "The tool answered: sunny"]
        error_of(await submit(client, run, outputs_for(run)), 400)


async def test_a_busy_thread_is_waited_for_and_then_refused(pair):
    patient, impatient = pair
    thread_id = await new_thread(patient)
    body = {"message": "slow:40", "thread_id": thread_id, "stream": True}
    async with patient.stream("POST", "chat", json=body) as stream:
        lines = stream.aiter_lines()
        while "delta" not in await anext(lines):
            continue
        refused = await _chat(impatient, thread_id, "too soon")
        assert error_of(refused, 409)["code"] == "thread_busy"
        assert refused.headers["retry-after"] == "2"
        waiting = asyncio.create_task(_chat(patient, thread_id, "later"))
        rest = [line async for line in lines]
    assert names(frames("event: delta\n" + "\n".join(rest)))[-1] == "done"
    assert (await waiting).json()["message"] == "You said: later"
    asked = await _texts(patient, thread_id)
    assert [asked[0], *asked[2:]] == ["slow:40", "later", "You said: later"]


async def test_many_answers_to_one_thread_come_one_after_the_other(pair):
    thread_id = await new_thread(pair[0])
    questions = [f"question {number}" for number in range(10)]

    async def is_answered(client, question):
        response = await _chat(client, thread_id, question)
        return response.status_code != 409 and response.json()["message"] == f"You said: {question}"

    asking = [partial(is_answered, pair[n % 2], question) for n, question in enumerate(questions)]
    await asyncio.gather(*map(until, asking))
    texts = await _texts(pair[0], thread_id)
    assert sorted(texts[::2]) == questions
    assert texts[1::2] == [f"You said: {question}" for question in texts[::2]]


@pytest.mark.slow
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_killed_replicas_run_expires_and_its_thread_goes_on(
    start, postgres_url, tmp_path, is_streamed
):
    common = {"is_served": True, "conversations": "own", "store_url": postgres_url}
    async with embedded_upstream(kind="nothing") as url, start(url=url, **common) as survivor:
        client = survivor.client
        thread_id = await new_thread(client)
        body = {
            "assistant_id": ASSISTANT,
            "additional_messages": [{"role": "user", "content": "slow: go"}],
            "stream": is_streamed,
        }
        with running(KillableService(tmp_path, OPENAI_BASE_URL=url, STORE_URL=postgres_url)) as doomed:
            path = f"{doomed.url}threads/{thread_id}/runs"
            async with client.stream("POST", path, json=body) as begun:
                async for _ in begun.aiter_bytes():
                    break
                await until(lambda: _runs(client, thread_id))
                (run,) = await _runs(client, thread_id)
                assert run["status"] == "in_progress"
                error_of(await _chat(client, thread_id), 409)
                doomed.kill()
        # Whoever asks first: for the run, or for the thread's next turn.
        await run_to(client, run, "expired")
        assert (await _chat(client, thread_id)).json()["message"] == "You said: next"
        assert await _texts(client, thread_id) == ["slow: go", "next", "You said: next"]
