"""The run history: written rarely, not read again where it was just written, read beside what else is due."""

import httpx2
import pytest

from tests.fake_upstream import fake_upstream, pass_on
from tests.support import TLS, new_thread, until

BODY = {"message": "hi", "on_disconnect": "detach"}
RED = b'{"metadata": {"colour": "red"}}'


async def write(upstream: str, path: str, body: bytes) -> None:
    """Change something upstream, past the service."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        headers = {"content-type": "application/json"}
        await client.post(upstream.removesuffix("/v1") + path, content=body, headers=headers)


def path_of(thread_id: str) -> str:
    return f"/v1/conversations/{thread_id.replace('thread_', 'conv_')}"


async def test_runs_that_begin_during_a_write_are_written_next(start, upstream):
    reads: list[str] = []

    async def handle(request, connection):
        if request.method == "GET" and request.path == path:
            reads.append(request.path)
            if len(reads) == 1:
                await service.client.post("chat", json=BODY | {"message": "two", "thread_id": thread_id})
        await pass_on(upstream, request, connection)

    path = ""
    async with fake_upstream(handle) as fake, start(url=fake.url) as service:
        thread_id = await new_thread(service.client)
        path = path_of(thread_id)
        await service.client.post("chat", json=BODY | {"message": "one", "thread_id": thread_id})
        await until(lambda: len(reads) == 2)
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
    assert len(runs) == 2


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
        await connection.answer(404, {"error": {"message": "Conversation with id 'conv_x' not found."}})

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
        answer = (await service.client.post("chat", json=BODY | {"thread_id": thread_id})).json()
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
                body = BODY | {"message": "two", "thread_id": thread_id}
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
        await service.client.post("chat", json=BODY | {"message": "one", "thread_id": thread_id})
        runs = (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]
    assert (len(writes), runs) == (2, [])
