"""The run history: written rarely, not read again where it was just written, read beside what else is due."""

import httpx2
import pytest

from app.core.background import wait_at_most
from tests.fake_upstream import fake_upstream, pass_on
from tests.support import TLS, new_thread, until

RED = b'{"metadata": {"colour": "red"}}'


async def write(upstream: str, path: str, body: bytes) -> None:
    """Change something upstream, past the service."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        headers = {"content-type": "application/json"}
        await client.post(upstream.removesuffix("/v1") + path, content=body, headers=headers)


def path_of(thread_id: str) -> str:
    return f"/v1/conversations/{thread_id.replace('thread_', 'conv_')}"


async def test_runs_that_begin_during_a_write_wait_like_the_first(start, upstream, monkeypatch):
    waits: list[float] = []
    reads: list[str] = []

    async def waited(event, seconds):
        waits.append(seconds)
        await wait_at_most(event, 0.01)

    monkeypatch.setattr("app.core.upstream.conversation_metadata.wait_at_most", waited)

    async def handle(request, connection):
        is_read = request.method == "GET" and request.path.endswith(conversation)
        if is_read:
            reads.append(request.path)
            if len(reads) == 1:
                await service.client.post("chat", json={"message": "two", "thread_id": thread_id})
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        conversation = "none yet"
        thread_id = await new_thread(service.client)
        conversation = thread_id.replace("thread_", "conv_")
        await service.client.post("chat", json={"message": "one", "thread_id": thread_id})
        await until(lambda: len(reads) == 2)
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
    assert len(runs) == 2
    assert waits == [2.0, 2.0]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("pool", [0, 1])
async def test_the_run_that_a_thread_begins_with_is_written_at_once_unread(start, upstream, pool, is_stream):
    async def handle(request, connection):
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url, conversation_pool=pool) as service:
        response = await service.client.post("chat", json={"message": "hi", "stream": is_stream})
        thread_id = response.headers["x-thread-id"]
        path = path_of(thread_id)
        await until(lambda: any(request.path == path for request in fake.requests))
        calls = [request.method for request in fake.requests if request.path == path]
        metadata = {"metadata": {"colour": "red"}}
        changed = (await service.client.post(f"threads/{thread_id}", json=metadata)).json()
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
    assert calls == ["POST"]
    assert changed["metadata"] == {"colour": "red"}
    assert len(runs) == 1


async def test_a_first_write_that_failed_is_not_repeated_unread(start, upstream):
    refused: list[str] = []

    async def handle(request, connection):
        is_write = request.method == "POST" and request.path.startswith("/v1/conversations/")
        if is_write and not refused:
            refused.append(request.path)
            # Somebody else's change comes in between.
            await write(upstream, request.path, RED)
            await connection.answer(500, {"error": {"message": "canary"}})
            return
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        thread_id = (await service.client.post("chat", json={"message": "hi"})).json()["thread_id"]
        await until(lambda: refused)
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
        thread = (await service.client.get(f"threads/{thread_id}")).json()
    assert len(runs) == 1
    assert thread["metadata"] == {"colour": "red"}


async def test_a_list_of_messages_asks_for_both_that_it_needs_at_once(start, upstream):
    asked: list[str] = []

    async def handle(request, connection):
        if request.method == "GET" and request.path.startswith("/v1/conversations/"):
            asked.append(request.path)
            await until(lambda: len(asked) == 2)
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client)
        page = await service.client.get(f"threads/{thread_id}/messages")
    assert page.json()["data"] == []


async def test_a_list_of_an_unknown_threads_messages_is_a_404_whatever_fails_first(start):
    asked: list[str] = []

    async def handle(request, connection):
        asked.append(request.path)
        if not request.path.endswith("/items"):
            await until(lambda: len(asked) == 2)
        await connection.answer(
            404, {"error": {"message": "x", "code": None, "type": "invalid_request_error"}}
        )

    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        path = "threads/thread_0123456789abcdef0123456789abcdef/messages"
        refused = await service.client.get(path, params={"after": "msg_0123456789abcdef"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "thread_id")


@pytest.mark.parametrize("tells_metadata", [True, False])
async def test_what_was_written_last_is_not_read_again(start, upstream, tells_metadata):
    async def handle(request, connection):
        if request.method == "POST" and request.path == path and not tells_metadata:
            await write(upstream, path, request.body)
            await connection.answer(
                200, {"id": path.rpartition("/")[2], "object": "conversation", "created_at": 1}
            )
        else:
            await pass_on(upstream, request, connection)

    path = ""
    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client)
        path = path_of(thread_id)
        answer = (await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})).json()
        messages = (await service.client.get(f"threads/{thread_id}/messages")).json()["data"]
        calls = [request.method for request in fake.requests if request.path == path]
    assert calls == ["GET", "POST"]
    assert [message["run_id"] for message in messages] == [answer["run_id"], None]


async def test_after_a_write_that_failed_the_conversation_is_read(start, upstream):
    """A second write of the same run history, which a change of somebody else's came before."""
    writes: list[str] = []

    async def handle(request, connection):
        if request.method == "POST" and request.path == path:
            writes.append(request.path)
            if len(writes) == 1:
                body = {"message": "two", "thread_id": thread_id}
                await service.client.post("chat", json=body)
                await pass_on(upstream, request, connection)
                return
            if len(writes) == 2:
                await write(upstream, path, RED)
            await connection.answer(400, {"error": {"message": "canary"}})
            return
        await pass_on(upstream, request, connection)

    path = ""
    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client)
        path = path_of(thread_id)
        await service.client.post("chat", json={"message": "one", "thread_id": thread_id})
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
    assert (len(writes), runs) == (2, [])
