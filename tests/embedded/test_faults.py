"""Every fault looks to the client as it does when a real upstream misbehaves."""

import asyncio
import json
import time

import openai
import pytest

from tests.embedded.support import collect, refused, stats, until


def _stream(client, **body):
    return client.responses.create(model="m", input="a b c d e f g", stream=True, background=True, **body)


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("500", 500, None), ("429", 429, "rate_limit_exceeded")]
)
async def test_plain_faults_start_nothing(serve, fault, status, code):
    async with serve(fault=fault) as client:
        with refused(status) as error:
            await _stream(client)
        assert error["code"] == code
        assert (await stats(client))["responses_created"] == 0


async def test_a_rate_limit_says_when_to_come_back(serve):
    async with serve(fault="429") as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await _stream(client)
        assert caught.value.response.headers["retry-after"] == "1"


async def test_truncation_ends_the_stream_without_a_terminal_event(serve):
    async with serve(fault="truncate", fault_after=6) as client:
        events = await collect(await _stream(client))
        assert len(events) == 6
        assert events[-1].type == "response.output_text.delta"


async def test_a_reset_breaks_the_stream_after_its_events(serve):
    async with serve(fault="reset", fault_after=5) as client:
        stream = await _stream(client)
        seen = [await anext(stream) for _ in range(5)]
        assert seen[-1].type == "response.content_part.added"
        with pytest.raises(openai.APIConnectionError):
            await anext(stream)


async def test_garbage_breaks_the_parser(serve):
    async with serve(fault="bad-json", fault_after=5) as client:
        stream = await _stream(client)
        for _ in range(5):
            await anext(stream)
        with pytest.raises(json.JSONDecodeError):
            await anext(stream)


@pytest.mark.parametrize(("fault", "events"), [("stall", 5), ("hang", 0)])
async def test_silence_lasts_until_the_client_leaves(serve, fault, events):
    async with serve(fault=fault, fault_after=5) as client:

        async def read():
            return await collect(await _stream(client))

        reading = asyncio.create_task(read())

        async def silent():
            return (await stats(client))["streams_open"] == 1 and (await stats(client))[
                "active_generations"
            ] == 0

        await until(silent)
        assert not reading.done()
        reading.cancel()

        async def closed():
            return (await stats(client))["streams_open"] == 0

        await until(closed)


@pytest.mark.parametrize("fault", ["reset", "truncate", "bad-json"])
async def test_json_answers_break_in_the_middle(serve, fault):
    async with serve(fault=fault) as client:
        with pytest.raises((openai.APIConnectionError, json.JSONDecodeError)):
            await client.responses.create(model="m", input="x")


async def test_a_resumed_stream_suffers_too(serve, settings):
    async with serve() as client:
        response_id = (await collect(await _stream(client)))[-1].response.id
    async with serve(fault="truncate", fault_after=2) as client:
        rest = await collect(await client.responses.retrieve(response_id, stream=True, starting_after=3))
        assert [event.sequence_number for event in rest] == [4, 5]


async def test_the_rate_draws_the_same_requests_each_time(serve):
    async def outcomes():
        async with serve(fault="500", fault_rate=0.5, seed=7) as client:
            found = []
            for _ in range(12):
                try:
                    await client.responses.create(model="m", input="x")
                    found.append(True)
                except openai.InternalServerError:
                    found.append(False)
            return found

    first = await outcomes()
    assert len(set(first)) == 2
    assert await outcomes() == first


async def test_latency_knobs_delay_the_first_token_and_each_one(serve):
    async with serve(first_token_ms=80, token_ms=20) as client:
        begin = time.monotonic()
        await collect(await client.responses.create(model="m", input="x", stream=True))
        # Sleeps never end early: 80 ms and four deltas of 20 ms are a lower bound on any machine.
        assert time.monotonic() - begin >= 0.16
