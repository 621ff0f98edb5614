"""Clients that go away from an upstream without background mode: the turn must not be lost with them."""

import asyncio

import pytest

from tests.support import ASSISTANT, embedded_upstream, frames, is_idle, until

PROMPT = " ".join(f"word{number}" for number in range(30))


@pytest.fixture
async def upstream():
    async with embedded_upstream(token_ms=30) as url:
        yield url


async def left_stream(client, path, body):
    """Read a stream up to its first text, go away, and return its thread."""
    read = ""
    async with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        async for text in response.aiter_text():
            read += text
            if "delta" in read:
                break
    complete = read[: read.rindex("\n\n") + 2]
    started = next(data for name, data in frames(complete) if name in {"thread.created", "thread"})
    return started.get("thread_id") or started["id"]


async def answers(client, thread_id):
    listed = (await client.get(f"threads/{thread_id}/messages")).json()["data"]
    return [message["content"][0]["text"]["value"] for message in listed if message["role"] == "assistant"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "threads/runs",
            {
                "assistant_id": ASSISTANT,
                "stream": True,
                "thread": {"messages": [{"role": "user", "content": PROMPT}]},
            },
        ),
        ("chat", {"message": PROMPT, "stream": True, "on_disconnect": "detach"}),
    ],
)
async def test_a_stream_that_is_left_keeps_its_turn(start, upstream, adapter, path, body):
    async with start(
        url=upstream, is_served=True, upstream_adapter=adapter, upstream_background="off"
    ) as service:
        thread_id = await left_stream(service.client, path, body)

        async def is_answered():
            return await answers(service.client, thread_id)

        await until(is_answered)
        assert await answers(service.client, thread_id) == [f"You said: {PROMPT}"]


async def test_a_chat_that_is_left_before_its_whole_answer_keeps_its_turn(start, upstream, adapter):
    async with start(
        url=upstream, is_served=True, upstream_adapter=adapter, upstream_background="off"
    ) as service:
        thread_id = (await service.client.post("threads", json={})).json()["id"]
        body = {"message": PROMPT, "thread_id": thread_id, "on_disconnect": "detach"}
        asked = asyncio.create_task(service.client.post("chat", json=body))

        async def is_busy():
            return not await is_idle(upstream)

        await until(is_busy)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

        async def is_answered():
            return await answers(service.client, thread_id)

        await until(is_answered)


async def test_a_stream_that_is_stopped_leaves_nothing_open(start, upstream, adapter):
    async with start(
        url=upstream, is_served=True, upstream_adapter=adapter, upstream_background="off"
    ) as service:
        thread_id = await left_stream(service.client, "chat", {"message": PROMPT, "stream": True})
        await until(lambda: is_idle(upstream))
        assert await answers(service.client, thread_id) != [f"You said: {PROMPT}"]
