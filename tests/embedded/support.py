"""Small helpers of the embedded upstream's tests."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

MODEL = "gpt-6-luna"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
    },
}

EventList = list[Any]


async def collect(stream: AsyncIterable[Any]) -> EventList:
    return [event async for event in stream]


def names(events: EventList) -> list[str]:
    """Event types without their prefix, repeated deltas once."""
    short = [event.type.removeprefix("response.") for event in events]
    return [name for at, name in enumerate(short) if not (name.endswith("delta") and short[at - 1] == name)]


@contextmanager
def refused(status: int = 400) -> Iterator[dict[str, Any]]:
    """Expect an error of this status; filled with its envelope."""
    envelope: dict[str, Any] = {}
    with pytest.raises(openai.APIStatusError) as caught:
        yield envelope
    assert caught.value.status_code == status
    body = caught.value.body
    assert isinstance(body, dict)
    envelope.update(body)


async def stats(client: AsyncOpenAI) -> dict[str, Any]:
    address = str(client.base_url).replace("/v1/", "/_stats")
    found: dict[str, Any] = await client.get(address, cast_to=dict[str, Any])
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition; the test's own timeout is the limit."""
    while True:
        if await condition():
            return
        await asyncio.sleep(0.01)


async def texts(client: AsyncOpenAI, conversation_id: str) -> list[str]:
    """Texts of a conversation's messages, oldest first."""
    items = await client.conversations.items.list(conversation_id, order="asc", limit=100)
    found: list[Any] = [item for item in items.data if item.type == "message"]
    return ["".join(part.text for part in item.content) for item in found]
