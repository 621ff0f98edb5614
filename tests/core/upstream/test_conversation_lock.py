"""Work that goes ahead of a conversation's next turn, on this replica and on those that share a Redis."""

import asyncio
from contextlib import asynccontextmanager
from contextvars import Context

import pytest

from app.core.background import BackgroundTasks
from app.core.limits.shared_redis import SharedRedis
from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import ConversationLockedError
from tests.security.redis_server import hanging_redis, redis_server
from tests.support import until

CONVERSATION = "conv_1"


def lock(redis=None, wait_seconds=1.0, paused=None):
    waited = (lambda _: None) if paused is None else paused.append
    return ConversationLock(BackgroundTasks(), redis, wait_seconds=wait_seconds, waited=waited)


@asynccontextmanager
async def clients(url, count=2):
    found = [SharedRedis(url) for _ in range(count)]
    try:
        yield found
    finally:
        for redis in found:
            await redis.aclose()


async def written():
    return "written"


async def test_a_writer_waits_for_what_is_held_and_other_conversations_do_not():
    held, may_end = lock(), asyncio.Event()
    held.hold(CONVERSATION, may_end.wait())
    writing = asyncio.create_task(held.write(CONVERSATION, written))
    assert await held.write("conv_2", written) == "written"
    assert not writing.done()
    may_end.set()
    assert await writing == "written"


async def test_held_work_is_done_in_its_order():
    held, first_may_end = lock(), asyncio.Event()
    order: list[str] = []

    async def work(name, event=None):
        if event is not None:
            await event.wait()
        order.append(name)

    held.hold(CONVERSATION, work("first", first_may_end))
    held.hold(CONVERSATION, work("second"))
    first_may_end.set()
    await held.wait(CONVERSATION)
    assert order == ["first", "second"]


async def test_a_holder_writes_and_others_give_up_in_time():
    held = lock(wait_seconds=0.05)
    async with held.holding(CONVERSATION):
        assert await held.write(CONVERSATION, written) == "written"
        assert await asyncio.create_task(held.write(CONVERSATION, written)) == "written"
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def hold():
        async with held.holding(CONVERSATION):
            entered.set()
            await may_end.wait()

    holding = asyncio.create_task(hold())
    await entered.wait()
    with pytest.raises(ConversationLockedError):
        await held.write(CONVERSATION, written)
    with pytest.raises(ConversationLockedError):
        async with held.holding(CONVERSATION):
            pass
    may_end.set()
    await holding
    assert await held.write(CONVERSATION, written) == "written"


async def test_a_task_that_a_holder_began_waits_for_the_next_one():
    held, may_write = lock(), asyncio.Event()

    async def write_later():
        await may_write.wait()
        return await held.write(CONVERSATION, written)

    async with held.holding(CONVERSATION):
        writing = asyncio.create_task(write_later())
    await held.wait(CONVERSATION)
    async with held.holding(CONVERSATION):
        may_write.set()
        await asyncio.sleep(0)
        assert not writing.done()
    assert await writing == "written"


@pytest.mark.needs_redis
async def test_a_holder_writes_while_other_replicas_wait_and_the_last_work_tells_them(tmp_path):
    async with redis_server(tmp_path) as server, clients(server.url) as (one, other):
        holder, writer, may_end = lock(one), lock(other, wait_seconds=0.05), asyncio.Event()

        def elsewhere():
            # Another process has no part of this one's context.
            return asyncio.create_task(writer.write(CONVERSATION, written), context=Context())

        async with holder.holding(CONVERSATION):
            await until(lambda: other.client.exists(f"soloist:stopped:{CONVERSATION}"))
            assert await holder.write(CONVERSATION, written) == "written"
            with pytest.raises(ConversationLockedError):
                await elsewhere()
            last = holder.hold(CONVERSATION, may_end.wait())
        with pytest.raises(ConversationLockedError):
            await elsewhere()
        may_end.set()
        await last
        assert await elsewhere() == "written"


async def test_a_refusal_is_repeated_until_the_time_is_over():
    refusals = 2
    paused: list[float] = []

    async def call():
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise ConversationLockedError("busy")
        return "written"

    assert await lock(paused=paused).write(CONVERSATION, call) == "written"
    assert len(paused) == 2
    refusals = 1_000
    with pytest.raises(ConversationLockedError):
        await lock(wait_seconds=0.1).write(CONVERSATION, call)


@pytest.mark.needs_redis
async def test_writers_on_other_replicas_wait_too(tmp_path):
    async with redis_server(tmp_path) as server, clients(server.url) as (one, other):
        holder, writer, may_end = lock(one), lock(other), asyncio.Event()
        holder.hold(CONVERSATION, may_end.wait())
        await until(lambda: other.client.exists(f"soloist:stopped:{CONVERSATION}"))
        writing = asyncio.create_task(writer.write(CONVERSATION, written))
        assert await writer.write("conv_2", written) == "written"
        assert not writing.done()
        may_end.set()
        assert await writing == "written"


async def test_a_redis_that_is_away_holds_nobody_up_for_long():
    async with hanging_redis() as url, clients(url, 1) as (redis,):
        assert await lock(redis).write(CONVERSATION, written) == "written"
