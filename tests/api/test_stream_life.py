"""How long streams live and what ends them from this side: silence, deadlines, shutdown, a dead upstream."""

import asyncio

import httpx2
import pytest

from tests.api.test_streams import PLAIN, START, streamed, streamed_events
from tests.dialects import BADLY, DIALECTS, WELL, ends, request_of
from tests.support import embedded_upstream, error_of, frames, names, new_thread, until


class TestDeath:
    @pytest.mark.parametrize("dialect", DIALECTS)
    async def test_an_upstream_that_dies_ends_the_stream_with_a_failure(self, start, dialect):
        closing, dead = asyncio.Event(), asyncio.Event()

        async def live_until_told() -> None:
            async with embedded_upstream() as url:
                address.set_result(url)
                await closing.wait()
            dead.set()

        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        living = asyncio.create_task(live_until_told())
        async with start(url=await address, is_served=True) as service:
            path, body = request_of(dialect, "slow: story")
            received = b""
            async with service.client.stream("POST", path, json=body) as response:
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if b"word2" in received:
                        closing.set()
            events = frames(received.decode())
            assert ends(dialect, events) == BADLY[dialect]
            await dead.wait()
            refused = await service.client.post("chat", json={"message": "hi"})
            assert error_of(refused, 502)["code"] == "upstream_unreachable"
            assert refused.headers["retry-after"]
        await living


class TestEnd:
    @pytest.mark.parametrize("dialect", DIALECTS)
    @pytest.mark.parametrize(("headers", "writes_of_the_end"), [({"origin": "http://x.example"}, 2), ({}, 1)])
    async def test_a_page_gets_the_end_apart_from_the_last_event(
        self, start, dialect, headers, writes_of_the_end
    ):
        written: list[bytes] = []
        async with start(cors_origins=["http://x.example"]) as service:
            path, body = request_of(dialect, "hello")

            async def noting(scope, receive, send):
                async def note(message):
                    if message["type"] == "http.response.body":
                        written.append(message["body"])
                    await send(message)

                await service.asgi(scope, receive, note)

            client = httpx2.AsyncClient(transport=httpx2.ASGITransport(noting), base_url=service.base_url)
            async with client:
                response = await client.post(path, json=body, headers=headers)
        assert ends(dialect, frames(response.text)) == WELL[dialect]
        assert len([data for data in written if data == b""]) == writes_of_the_end - 1
        assert written[-writes_of_the_end] != b""


class TestLiveness:
    async def test_silence_is_filled_with_comments_that_break_no_client(self, start, adapter):
        async with start(is_served=True, upstream_adapter=adapter, sse_keepalive_seconds=0.1) as service:
            response = await streamed(service.client, await new_thread(service.client, "sleep:1300 x"))
        assert ": ka\n" in response.text
        assert ": ka\n\n" not in response.text
        assert names(frames(response.text)) == PLAIN

    async def test_a_text_stream_gets_no_comments(self, start):
        async with start(is_served=True, sse_keepalive_seconds=0.1) as service:
            response = await service.client.post(
                "chat", json={"message": "sleep:1300 x", "stream": True}, headers={"accept": "text/plain"}
            )
        assert response.text == "You said: 1300 x"

    async def test_a_stream_that_lives_too_long_ends_with_an_error_and_its_run_goes_on(self, start, upstream):
        async with start(url=upstream, is_served=True, stream_max_seconds=0.3) as service:
            events = await streamed_events(service.client, "slow: story")
            run = events[0][1]
            path = f"threads/{run['thread_id']}/runs/{run['id']}"
            assert names(events)[:3] == START
            assert names(events)[-2:] == ["error", "done"]
            assert events[-2][1]["error"]["code"] == "stream_max_seconds"
            assert (await service.client.get(path)).json()["status"] == "in_progress"
            await service.client.post(f"{path}/cancel")

    async def test_a_run_beyond_its_deadline_expires_and_stops_upstream(self, start, upstream, adapter):
        async with start(
            url=upstream, is_served=True, upstream_adapter=adapter, run_expires_seconds=0.5
        ) as service:
            events = await streamed_events(service.client, "slow: story")
            assert names(events)[-2:] == ["thread.run.expired", "done"]
            run = events[0][1]
            found = await service.client.get(f"threads/{run['thread_id']}/runs/{run['id']}")
            assert found.json()["status"] == "expired"

    async def test_a_shutdown_ends_streams_with_an_error_and_takes_no_new_work(self, start, upstream):
        async with start(url=upstream, is_served=True, shutdown_grace_seconds=2.5) as service:
            client = service.client
            body = {"message": "slow: story", "stream": True}
            received = b""
            async with client.stream("POST", "chat", json=body) as response:
                reads = response.aiter_bytes()
                received += await anext(reads)
                assert service.server
                service.server.should_exit = True
                await until(lambda: service.app.state.registry.is_draining)
                refused = await client.post("chat", json={"message": "hi"})
                assert error_of(refused, 503)["code"] == "shutting_down"
                assert refused.headers["retry-after"]
                assert (await client.get("ready")).status_code == 503
                async for chunk in reads:
                    received += chunk
            name, data = frames(received.decode())[-1]
            assert (name, data["error"]["code"]) == ("error", "shutting_down")
