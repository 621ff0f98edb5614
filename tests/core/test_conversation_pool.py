"""`CONVERSATION_POOL`: new chats find their conversation made; requests never fail or wait for it."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import httpx2
import pytest
from structlog.testing import CapturingLogger

from app.core.conversation_pool import ConversationPool
from app.core.upstream.conversations import Conversations
from app.core.upstream.factory import open_upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import Connection, Request, fake_upstream, pass_on
from tests.support import TLS, Json, embedded_upstream, error_of, make_settings, stats, until

CREATE = ("POST", "/v1/conversations")
NEW: dict[str, tuple[str, Json]] = {
    "chat": ("chat", {"message": "hi"}),
    "stream": ("chat", {"message": "hi", "stream": True}),
    "thread": ("threads", {}),
}
HELD: dict[str, tuple[str, Json]] = {
    "history": (
        "chat",
        {"messages": [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]},
    ),
    "messages": ("threads", {"messages": [{"role": "user", "content": "hi"}]}),
    "metadata": ("threads", {"metadata": {"a": "b"}}),
}


class Between:
    """Passes everything on to another upstream; knows the conversations made, and may refuse to make more."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.refuses = False
        self.hangs_on_delete = False
        self.seen: Counter[str] = Counter()
        self.made: list[str] = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        is_creation = (request.method, request.path) == CREATE
        if is_creation and self.refuses:
            self.seen["refused"] += 1
            await connection.answer(503, {"error": {"message": "canary"}})
            return
        if request.method == "DELETE" and self.hangs_on_delete:
            self.seen["hung"] += 1
            await connection.until_gone()
            return
        answer = await pass_on(self._url, request, connection)
        if is_creation:
            self.made.append(answer.json()["id"])


@pytest.fixture
async def between(upstream):
    """The one between, and the URL that it listens on."""
    handler = Between(upstream)
    async with fake_upstream(handler) as fake:
        yield handler, fake.url


async def is_holding(upstream, count):
    return (await stats(upstream))["conversations"] == count


async def requested(upstream):
    counts = (await stats(upstream))["requests"]
    return counts.get("POST /v1/conversations", 0), counts.get("DELETE /v1/conversations/{id}", 0)


def conversation_of(response):
    thread_id = response.headers.get("x-thread-id") or response.json()["id"]
    return thread_id.replace("thread_", "conv_")


async def test_without_it_nothing_is_made_ahead(start, upstream):
    async with start(url=upstream) as service:
        assert (await service.client.post("chat", json={"message": "hi"})).status_code == 200
    assert await requested(upstream) == (1, 0)


@pytest.mark.parametrize("kind", NEW)
async def test_what_starts_empty_needs_no_conversation_made(start, between, kind):
    handler, url = between
    path, body = NEW[kind]
    async with start(url=url, is_served=True, conversation_pool=1) as service:
        await until(lambda: handler.made)
        handler.refuses = True
        response = await service.client.post(path, json=body)
        assert response.status_code == 200, response.text
        await until(lambda: handler.seen["refused"])
        error_of(await service.client.post("threads", json={}), 502)
    assert len(handler.made) == 1


@pytest.mark.parametrize("kind", HELD)
async def test_what_starts_with_something_leaves_it_alone(start, upstream, between, kind):
    handler, url = between
    path, body = HELD[kind]
    async with start(url=url, conversation_pool=1) as service:
        await until(lambda: handler.made)
        handler.refuses = True
        error_of(await service.client.post(path, json=body), 502)
        response = await service.client.post("threads", json={})
        assert conversation_of(response) == handler.made[0]


async def test_more_chats_than_it_holds_have_a_thread_each(start, upstream):
    async with start(url=upstream, conversation_pool=2) as service:
        await until(lambda: is_holding(upstream, 2))
        posts = (service.client.post("chat", json={"message": "hi"}) for _ in range(6))
        responses = await asyncio.gather(*posts)
        assert [response.status_code for response in responses] == [200] * 6
        assert len({response.json()["thread_id"] for response in responses}) == 6
        await until(lambda: is_holding(upstream, 6 + 2))


async def test_what_nobody_took_is_deleted_at_the_end(start, upstream):
    async with start(url=upstream, conversation_pool=20) as service:
        await until(lambda: is_holding(upstream, 20))
        thread = (await service.client.post("threads", json={})).json()
        await until(lambda: is_holding(upstream, 21))
    assert await requested(upstream) == (21, 20)
    async with start(url=upstream) as service:
        assert (await service.client.get(f"threads/{thread['id']}")).json() == thread


async def test_an_upstream_that_deletes_nothing_does_not_hold_the_end_up(start, between, monkeypatch, capfd):
    monkeypatch.setattr("app.core.conversation_pool._DELETE_SECONDS", 0.05)
    handler, url = between
    handler.hangs_on_delete = True
    async with start(url=url, conversation_pool=3, log_level="warning"):
        await until(lambda: len(handler.made) == 3)
    assert handler.seen["hung"] == 3
    captured = capfd.readouterr()
    assert "empty_conversations_left_behind" in captured.out + captured.err


async def test_an_upstream_that_is_down_at_the_start_is_asked_again(start, upstream, between, capfd):
    handler, url = between
    handler.refuses = True
    async with start(url=url, conversation_pool=2, log_level="warning") as service:
        await until(lambda: handler.seen["refused"])
        assert (await service.client.get("health")).status_code == 200
        handler.refuses = False
        await until(lambda: is_holding(upstream, 2))
    captured = capfd.readouterr()
    assert "conversation_pool_not_filled" in captured.out + captured.err
    assert "canary" not in captured.out + captured.err


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_chat_does_not_notice_that_its_conversation_was_lost(start, upstream, between, is_stream):
    handler, url = between
    async with start(url=url, is_served=True, conversation_pool=1) as service:
        await until(lambda: handler.made)
        lost = handler.made[0]
        async with httpx2.AsyncClient(verify=TLS) as client:
            assert (await client.delete(f"{upstream}/conversations/{lost}")).status_code == 200
        body = {"message": "hi", "stream": is_stream}
        response = await service.client.post("chat", json=body)
        assert response.status_code == 200, response.text
        assert conversation_of(response) in handler.made[1:]
        thread_id = response.headers["x-thread-id"]
        again = await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
        assert again.status_code == 200


async def test_none_is_made_while_draining(start):
    async with embedded_upstream(fault="stall") as upstream:
        async with start(
            url=upstream, is_served=True, conversation_pool=1, shutdown_grace_seconds=2
        ) as service:
            await until(lambda: is_holding(upstream, 1))
            asked = asyncio.create_task(service.client.post("chat", json={"message": "hi"}))
            await until(lambda: is_holding(upstream, 2))
            registry = service.app.state.registry
            await until(lambda: registry.open_streams)
            service.server.should_exit = True
            await until(lambda: registry.is_draining)
            assert (await service.client.post("threads", json={})).status_code == 200
            error_of(await asked, 503)
        assert await requested(upstream) == (2, 0)


@asynccontextmanager
async def conversations_at(url):
    """What a pool works with."""
    settings = make_settings(openai_base_url=url, openai_api_key="key")
    port = open_upstream(target_of(settings), settings)
    try:
        yield Conversations(port, lock_wait_seconds=0)
    finally:
        await port.aclose()


@pytest.fixture
async def conversations(upstream):
    async with conversations_at(upstream) as found:
        yield found


async def test_what_waited_too_long_is_not_handed_out_but_replaced(upstream, conversations):
    now = [1000.0]
    pool = ConversationPool(conversations, 2, clock=lambda: now[0])
    async with pool.kept_filled(lambda: False):
        await until(lambda: is_holding(upstream, 2))
        now[0] += 599.9
        taken = pool.take()
        assert taken is not None
        await until(lambda: is_holding(upstream, 3))
        now[0] += 599.9
        assert pool.take() is not None

        async def is_filled_without_the_aged():
            return await requested(upstream) == (5, 1)

        await until(is_filled_without_the_aged)
        now[0] += 600
        assert pool.take() is None

        async def are_all_replaced():
            return await requested(upstream) == (7, 3)

        await until(are_all_replaced)
        assert pool.take() is not None


async def test_what_waits_too_long_is_replaced_though_nobody_asks(upstream, conversations):
    pool = ConversationPool(conversations, 1, max_age_seconds=0.05)
    async with pool.kept_filled(lambda: False):

        async def is_replaced():
            made, deleted = await requested(upstream)
            return made > 1 and deleted

        await until(is_replaced)
    assert await is_holding(upstream, 0)


@asynccontextmanager
async def pool_of_aged(upstream, between, size):
    """Let the whole pool age while the upstream deletes nothing."""
    handler, url = between
    handler.hangs_on_delete = True
    now = [1000.0]
    async with conversations_at(url) as found:
        pool = ConversationPool(found, size, clock=lambda: now[0])
        async with pool.kept_filled(lambda: False):
            await until(lambda: is_holding(upstream, size))
            now[0] += 600
            assert pool.take() is None
            yield handler


async def test_the_aged_are_deleted_once_all_are_replaced_and_not_forgotten_at_the_end(
    upstream, between, monkeypatch
):
    monkeypatch.setattr("app.core.conversation_pool._DELETE_SECONDS", 60)
    monkeypatch.setattr("app.core.conversation_pool._LAST_CALLS_SECONDS", 0.05)
    async with pool_of_aged(upstream, between, 20) as handler:
        await until(lambda: handler.seen["hung"] == 20)
        assert len(handler.made) == 40
        handler.hangs_on_delete = False
    assert await is_holding(upstream, 0)


async def test_what_cannot_be_deleted_is_counted_once(upstream, between, monkeypatch):
    monkeypatch.setattr("app.core.conversation_pool._DELETE_SECONDS", 0.05)
    log = CapturingLogger()
    monkeypatch.setattr("app.core.conversation_pool._log", log)
    async with pool_of_aged(upstream, between, 2):
        await until(lambda: log.calls)
    assert [call.args for call in log.calls] == [("empty_conversations_left_behind",)] * 2
    assert [call.kwargs["count"] for call in log.calls] == [2, 2]
