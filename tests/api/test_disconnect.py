"""A client that goes away: what stops, what goes on, and that nothing is left open or half done."""

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.api.test_streams import streamed
from tests.dialects import DIALECTS, request_of
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import (
    ASSISTANT,
    frames,
    is_idle,
    new_run,
    new_thread,
    run_to,
    stats,
    text_of,
    until,
)

LONG = " ".join(f"w{n}" for n in range(60))


@pytest.fixture
async def pair(start, upstream):
    """The service before a scripted upstream, and that upstream's address."""
    async with start(url=upstream, is_served=True) as service:
        yield service, upstream


async def leave_after_first_text(client, path, body):
    """Read until text has come, then drop the connection; what was read until then."""
    received = b""
    async with client.stream("POST", path, json=body) as response:
        async for chunk in response.aiter_bytes():
            received += chunk
            if b"word1" in received:
                break
    return received.decode()


async def latest_run(client, thread_id):
    return (await client.get(f"threads/{thread_id}/runs")).json()["data"][0]


async def texts(client, thread_id):
    """The texts of a thread's messages, oldest first."""
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [message["content"][0]["text"]["value"] for message in page["data"]]


class TestMidStream:
    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_a_client_that_wants_it_stops_the_work(self, start, upstream, dialect):
        settings = {"on_disconnect_runs": "cancel", "on_disconnect_chat": "cancel"}
        async with start(url=upstream, is_served=True, **settings) as service:
            path, body = request_of(dialect, "slow: story")
            await leave_after_first_text(service.client, path, body)
            await until(lambda: is_idle(upstream))
            await until(lambda: service.app.state.registry.open_streams == 0)
        assert (await stats(upstream))["responses_created"] == 1

    async def test_a_chat_is_cancelled_by_default_and_its_thread_usable(self, pair):
        service, upstream = pair
        body = {"message": "slow: story", "stream": True}
        text = await leave_after_first_text(service.client, "chat", body)
        begun = frames(text[: text.rindex("\n\n")])[0][1]
        thread_id = begun["thread_id"]
        await until(lambda: is_idle(upstream))
        path = f"threads/{thread_id}/runs/{begun['run_id']}"

        async def is_cancelled():
            return (await service.client.get(path)).json()["status"] == "cancelled"

        await until(is_cancelled)
        answer = await service.client.post("chat", json={"message": "hi", "thread_id": thread_id})
        assert answer.json()["message"] == "You said: hi"

    async def test_a_run_goes_on_by_default(self, pair):
        service, upstream = pair
        thread_id = await new_thread(service.client, "slow: story")
        body = {"assistant_id": ASSISTANT, "stream": True}
        await leave_after_first_text(service.client, f"threads/{thread_id}/runs", body)

        async def is_left_alone():
            found = await stats(upstream)
            return found["streams_open"] == 0 and found["active_generations"] == 1

        await until(is_left_alone)
        await until(lambda: service.app.state.registry.open_streams == 0)
        run = await latest_run(service.client, thread_id)
        assert run["status"] == "in_progress"
        await service.client.post(f"threads/{thread_id}/runs/{run['id']}/cancel")

    @pytest.mark.parametrize(("choice", "left"), [("cancel", 0), ("detach", 1)])
    async def test_a_request_can_choose(self, pair, choice, left):
        service, upstream = pair
        for path, body in (
            ("chat", {"message": "slow: story", "stream": True}),
            request_of("assistants", "slow: story"),
        ):
            text = await leave_after_first_text(service.client, path, {**body, "on_disconnect": choice})
            first = frames(text[: text.rindex("\n\n")])[0][1]
            thread_id = first.get("thread_id") or first["id"]

            async def has_left():
                found = await stats(upstream)
                return (found["streams_open"], found["active_generations"]) == (0, left)

            await until(has_left)
            if left:
                run = await latest_run(service.client, thread_id)
                await service.client.post(f"threads/{thread_id}/runs/{run['id']}/cancel")

    async def test_a_watcher_that_leaves_stops_nothing(self, start, upstream):
        async with start(url=upstream, is_served=True, on_disconnect_runs="cancel") as service:
            run = await new_run(service.client, await new_thread(service.client, "slow: story"))
            path = f"threads/{run['thread_id']}/runs/{run['id']}"
            async with service.client.stream("GET", f"{path}/events") as response:
                await anext(response.aiter_bytes())
            await until(lambda: service.app.state.registry.open_streams == 0)
            assert (await service.client.get(path)).json()["status"] == "in_progress"
            await service.client.post(f"{path}/cancel")

    async def test_many_that_leave_leave_nothing_open(self, start, upstream, adapter):
        async with start(url=upstream, is_served=True, upstream_adapter=adapter) as service:
            body = {"message": "slow: story", "stream": True}
            leaving = (leave_after_first_text(service.client, "chat", body) for _ in range(25))
            await asyncio.gather(*leaving)
            await until(lambda: is_idle(upstream))
            await until(lambda: service.app.state.registry.open_streams == 0)
            assert (await stats(upstream))["responses_created"] == 25


class TestWithoutStream:
    async def test_a_json_chat_is_cancelled_too(self, pair):
        service, upstream = pair
        thread_id = await new_thread(service.client)
        body = {"message": "slow: story", "thread_id": thread_id}
        asking = asyncio.create_task(service.client.post("chat", json=body))

        async def is_working():
            return (await stats(upstream))["active_generations"] == 1

        await until(is_working)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: is_idle(upstream))
        await until(lambda: service.app.state.registry.open_streams == 0)

        async def is_kept():
            return await texts(service.client, thread_id) == ["slow: story"]

        await until(is_kept)

    async def test_a_json_chat_can_be_left_to_finish(self, start):
        async with start(knobs={"token_ms": 10}, is_served=True) as service:
            thread_id = await new_thread(service.client)
            body = {"message": LONG, "thread_id": thread_id, "on_disconnect": "detach"}
            asking = asyncio.create_task(service.client.post("chat", json=body))

            async def has_begun():
                return (await service.client.get(f"threads/{thread_id}/runs")).json()["data"]

            await until(has_begun)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            run = await latest_run(service.client, thread_id)
            await run_to(service.client, run, "completed")
            messages = (await service.client.get(f"threads/{thread_id}/messages")).json()["data"]
            assert messages[0]["content"][0]["text"]["value"] == f"You said: {LONG}"


class Hesitating:
    """An upstream that takes its time to accept a response."""

    def __init__(self) -> None:
        self.asked, self.accepts, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.cancelled = asyncio.Event()
        self.appended: list[dict[str, Any]] = []
        self.response = (
            b'{"id": "resp_1", "object": "response", "created_at": 1790000000, "status": "in_progress",'
            b' "output": []}'
        )

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path == "/v1/responses":
            self.asked.set()
            await self.accepts.wait()
            await connection.start_stream()
            event = b'{"type":"response.created","sequence_number":0,"response":' + self.response + b"}"
            await connection.chunk(b"event: response.created\ndata: " + event + b"\n\n")
            await connection.until_gone()
            self.closed.set()
        elif request.path.endswith("/items"):
            self.appended += request.json["items"] if request.method == "POST" else []
            await connection.answer(200, {"object": "list", "data": [], "has_more": False})
        elif request.path.endswith("/cancel"):
            self.cancelled.set()
            await connection.answer(200, self.response.replace(b"in_progress", b"cancelled"))
        elif request.path.startswith("/v1/responses/"):
            await connection.answer(200, self.response)
        else:
            await connection.answer(200, {"id": "conv_1", "created_at": 1, "metadata": {}})


class Silent(Hesitating):
    """An upstream that never accepts a response, and notices when its client gives up."""

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path == "/v1/responses":
            self.asked.set()
            await connection.until_gone()
            self.closed.set()
        else:
            await super().__call__(request, connection)


class TestBeforeTheFirstByte:
    @pytest.mark.parametrize("is_streamed", [False, True])
    @pytest.mark.parametrize("choice", ["cancel", "detach"])
    async def test_a_client_that_leaves_before_a_background_run_was_accepted(
        self, start, adapter, choice, is_streamed
    ):
        upstream = Hesitating()
        settings = {"upstream_adapter": adapter, "upstream_background": "always"}
        async with (
            fake_upstream(upstream) as fake,
            start(url=fake.url, is_served=True, **settings) as service,
        ):
            body = {"message": "hi", "on_disconnect": choice, "stream": is_streamed}
            asking = asyncio.create_task(service.client.post("chat", json=body))
            await upstream.asked.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: service.app.state.registry.open_streams == 0)
            upstream.accepts.set()
            await upstream.closed.wait()
            if choice == "cancel":
                await upstream.cancelled.wait()
        posts = [request for request in fake.requests if request.path == "/v1/responses"]
        assert len(posts) == 1
        assert upstream.cancelled.is_set() == (choice == "cancel")

    @pytest.mark.parametrize("is_streamed", [False, True])
    async def test_a_client_that_leaves_closes_a_foreground_request_and_its_question_is_kept(
        self, start, adapter, is_streamed
    ):
        upstream = Silent()
        async with (
            fake_upstream(upstream) as fake,
            start(url=fake.url, is_served=True, upstream_adapter=adapter) as service,
        ):
            body = {"message": "hi", "stream": is_streamed}
            asking = asyncio.create_task(service.client.post("chat", json=body))
            await upstream.asked.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await upstream.closed.wait()
            await until(lambda: upstream.appended)
        assert [item["content"][0]["text"] for item in upstream.appended] == ["hi"]
        assert not upstream.cancelled.is_set()

    async def test_a_service_that_stops_meanwhile_waits_for_the_upstream(self, start, monkeypatch):
        monkeypatch.setattr("app.api.open_streams._LAST_SECONDS", 0.01)
        upstream = Hesitating()
        settings = {"shutdown_grace_seconds": 20, "upstream_background": "always"}
        async with (
            fake_upstream(upstream) as fake,
            start(url=fake.url, is_served=True, **settings) as service,
        ):
            asking = asyncio.create_task(service.client.post("chat", json={"message": "hi"}))
            await upstream.asked.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            registry = service.app.state.registry
            await until(lambda: registry.open_streams == 0)
            service.server.should_exit = True
            await until(lambda: registry.is_draining)
            await asyncio.sleep(0.3)
            upstream.accepts.set()
            await upstream.cancelled.wait()


class TestForeground:
    async def test_a_foreground_turn_is_read_to_its_end_so_that_it_is_not_lost(self, start, adapter):
        async with start(
            knobs={"token_ms": 5}, is_served=True, upstream_adapter=adapter, upstream_background="off"
        ) as service:
            client = service.client
            thread_id = await new_thread(client, LONG)
            body = {"assistant_id": ASSISTANT, "stream": True}
            async with client.stream("POST", f"threads/{thread_id}/runs", json=body) as response:
                await anext(response.aiter_bytes())

            async def is_stored():
                messages = (await client.get(f"threads/{thread_id}/messages")).json()["data"]
                return messages[0]["role"] == "assistant"

            await until(is_stored)
            messages = (await client.get(f"threads/{thread_id}/messages")).json()["data"]
            assert messages[0]["content"][0]["text"]["value"] == f"You said: {LONG}"
            again = await streamed(client, thread_id, additional_messages=[{"role": "user", "content": "hi"}])
            assert text_of(frames(again.text)) == "You said: hi"


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'output_index': 0, **fields})}\n\n".encode()


RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "output": []}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
PART = {"type": "output_text", "text": "", "annotations": []}
BEGINNING = [
    _event("response.created", response=RESPONSE),
    _event("response.output_item.added", item=ITEM),
    _event("response.content_part.added", content_index=0, part=PART, item_id="msg_1"),
]
DELTA = _event("response.output_text.delta", content_index=0, item_id="msg_1", delta="word " * 200)
MOST_HELD = 1_500_000
"""Bytes of the upstream's events, which are longer than the service's."""


class TestSlowReaders:
    async def test_a_reader_that_takes_nothing_is_dropped_and_disturbs_nobody(self, start, upstream):
        async with start(url=upstream, is_served=True, slow_reader_seconds=0.5) as service:
            client = service.client
            thread_id = await new_thread(client, "long:150000")
            body = f'{{"assistant_id":"{ASSISTANT}","stream":true}}'
            request = (
                f"POST /api/v1/threads/{thread_id}/runs HTTP/1.1\r\nhost: localhost\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
            )
            port = int(service.base_url.split(":")[2].split("/")[0])
            with socket.socket() as lazy:
                lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                lazy.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(lazy, ("127.0.0.1", port))
                await loop.sock_sendall(lazy, request.encode())
                registry = service.app.state.registry
                await until(lambda: registry.open_streams == 1)
                assert (await client.post("chat", json={"message": "hi"})).status_code == 200
                await until(lambda: registry.open_streams == 0)
            await until(lambda: is_idle(upstream))
            await run_to(client, await latest_run(client, thread_id), "completed")

    async def test_a_reader_that_takes_nothing_holds_little(self, start):
        sent = 0
        is_full = asyncio.Event()

        async def endless(request: Request, connection: Connection) -> None:
            nonlocal sent
            if "conversations" in request.path:
                await connection.answer(200, {"id": "conv_1", "object": "conversation", "created_at": 1})
                return
            connection.limit_send_buffer(4096)
            await connection.start_stream()
            for event in BEGINNING:
                await connection.chunk(event)
            while True:
                try:
                    async with asyncio.timeout(1):
                        await connection.chunk(DELTA)
                except TimeoutError:
                    break
                sent += len(DELTA)
            is_full.set()
            await connection.until_gone()

        async with fake_upstream(endless) as fake, start(url=fake.url, is_served=True) as service:
            body = b'{"message": "hi", "stream": true}'
            head = b"POST /api/v1/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            with socket.socket() as lazy:
                lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                lazy.setblocking(False)
                loop = asyncio.get_running_loop()
                url = service.client.base_url
                await loop.sock_connect(lazy, (url.host, url.port))
                await loop.sock_sendall(lazy, b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
                await is_full.wait()
        assert 0 < sent < MOST_HELD
