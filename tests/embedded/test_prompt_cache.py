"""Cached tokens as OpenAI counts them: what a prompt shares with the one before under the same key."""

import httpx2
import pytest

from tests.support import TLS

LONG = "word " * 2_000


@pytest.fixture
async def ask(upstream):
    async with httpx2.AsyncClient(base_url=upstream + "/", verify=TLS) as client:

        async def asked(text, key=None):
            body = {"model": "m", "instructions": LONG, "input": text, "prompt_cache_key": key}
            usage = (await client.post("responses", json=body)).json()["usage"]
            return usage["input_tokens_details"]["cached_tokens"]

        yield asked


async def test_a_repeated_beginning_is_cached_in_steps_of_128(ask):
    assert [await ask(text, "a") for text in ("one", "two", "one")] == [0, 2_432, 2_432]


async def test_every_key_has_a_cache_of_its_own(ask):
    assert [await ask("one", key) for key in ("a", "b", None, "a")] == [0, 0, 0, 2_432]
