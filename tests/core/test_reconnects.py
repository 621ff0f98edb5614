"""How often the stream of a response is opened again."""

import asyncio

import pytest

from app.core.runs.reconnects import Reconnects
from app.core.upstream.errors import UpstreamBrokenError, UpstreamTimeoutError

BROKEN = UpstreamBrokenError()


@pytest.fixture
async def clock(monkeypatch):
    """The loop's time in seconds, as one entry that a test moves on."""
    now = [1_000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    yield now
    monkeypatch.undo()


async def test_a_stream_that_breaks_is_opened_again_while_it_brings_anything_new(clock):
    tries = Reconnects()
    assert [tries.allow("in_progress", seen, BROKEN) for seen in (1, 2, 2)] == [True, True, False]


async def test_a_stream_that_breaks_for_ever_is_not(clock):
    tries = Reconnects()
    assert [tries.allow("completed", seen, BROKEN) for seen in range(21)] == [True] * 20 + [False]


async def test_nobody_goes_on_after_an_event_without_a_number(clock):
    assert not Reconnects().allow("in_progress", None, UpstreamTimeoutError())


async def test_silence_does_not_count_however_it_ends(clock):
    tries = Reconnects()
    for _ in range(30):
        assert tries.allow("in_progress", 1, UpstreamTimeoutError())
        clock[0] += 60
        assert tries.allow("queued", 1, BROKEN)
    assert tries.allow("in_progress", 1, BROKEN)
    assert not tries.allow("in_progress", 1, BROKEN)


async def test_the_silence_of_a_response_that_has_ended_does(clock):
    tries = Reconnects()
    assert [tries.allow("completed", 1, UpstreamTimeoutError()) for _ in range(2)] == [True, False]
