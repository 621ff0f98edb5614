"""The contract of both adapters where connections are made, break, serve again and close."""

import asyncio
import gc
from contextlib import suppress

import pytest

from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamNotFoundError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.factory import open_upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import Connection, Request, always, fake_upstream, raw_upstream
from tests.support import make_settings, until


async def _silence(_request: Request, connection: Connection) -> None:
    await connection.until_gone()


async def _reset(_request: Request, connection: Connection) -> None:
    connection.reset()


async def _hang_up(_request: Request, connection: Connection) -> None:
    connection.close()


async def _no_http(_request: Request, connection: Connection) -> None:
    await connection.send(b"\x00\x01 this is no HTTP\r\n\r\n")
    connection.close()


async def _cut_body(_request: Request, connection: Connection) -> None:
    await connection.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id":')
    connection.close()


async def _stalled_body(_request: Request, connection: Connection) -> None:
    await connection.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id":')
    await connection.until_gone()


async def _bad_gzip(_request: Request, connection: Connection) -> None:
    await connection.answer(200, b"this is no gzip", content_encoding="gzip")


async def _endless(_request: Request, connection: Connection) -> None:
    await connection.start_stream()
    await connection.chunk(b"data: 1\n\n")
    await connection.until_gone()


class TestIdleConnections:
    async def test_a_post_that_meets_a_closing_one_is_not_repeated(self, adapter):
        async def once(_request, connection):
            # The upstream closes an idle connection while the next request is on its way.
            await (connection.answer(200, b"{}") if fake.count == 1 else _reset(_request, connection))

        async with fake_upstream(once) as fake:
            settings = make_settings(upstream_adapter=adapter, openai_base_url=fake.url)
            upstream = open_upstream(target_of(settings), settings)
            try:
                await upstream.request("POST", "/responses", body={})
                with pytest.raises(UpstreamBrokenError) as caught:
                    await upstream.request("POST", "/responses", body={})
            finally:
                await upstream.aclose()
            assert caught.value.headers["x-should-retry"] == "false"
            assert fake.count == 2


class TestConnections:
    @pytest.mark.parametrize(
        ("handler", "kind"),
        [
            (_reset, UpstreamBrokenError),
            (_hang_up, UpstreamBrokenError),
            (_no_http, UpstreamBrokenError),
            (_cut_body, UpstreamBrokenError),
            (_bad_gzip, UpstreamBrokenError),
        ],
    )
    async def test_a_broken_answer_is_an_error_and_no_second_request(self, opened, handler, kind):
        async with opened(handler) as (upstream, fake):
            with pytest.raises(kind):
                await upstream.request("POST", "/responses", body={})
        assert fake.count == 1

    @pytest.mark.parametrize("handler", [_silence, _stalled_body])
    async def test_silence_ends_in_a_timeout(self, opened, handler):
        async with opened(handler, openai_timeout_seconds=0.2) as (upstream, fake):
            with pytest.raises(UpstreamTimeoutError):
                await upstream.request("POST", "/responses", body={})
        assert fake.count == 1

    async def test_a_call_can_bring_its_own_timeout(self, opened):
        async with opened(_silence) as (upstream, _):
            with pytest.raises(UpstreamTimeoutError):
                await upstream.request("GET", "/models/m", timeout=0.2)

    async def test_a_call_can_wait_longer_than_the_default(self, opened):
        async def late(_request: Request, connection: Connection) -> None:
            await asyncio.sleep(0.4)
            await connection.answer(200, b"{}")

        async with opened(late, openai_timeout_seconds=0.1) as (upstream, _):
            assert await upstream.request("POST", "/responses", body={}, timeout=15) == b"{}"

    async def test_a_refused_connection_says_that_nothing_was_started(self, adapter, unused_tcp_port):
        settings = make_settings(
            upstream_adapter=adapter, openai_base_url=f"http://127.0.0.1:{unused_tcp_port}/v1"
        )
        upstream = open_upstream(target_of(settings), settings)
        try:
            for call in (
                upstream.request("POST", "/responses", body={}),
                upstream.stream("POST", "/responses"),
            ):
                with pytest.raises(UpstreamUnreachableError) as caught:
                    await call
                assert caught.value.headers["retry-after"]
        finally:
            await upstream.aclose()

    async def test_tls_that_does_not_come_about_starts_nothing_either(self, adapter):
        async with fake_upstream(always(200)) as fake:
            url = fake.url.replace("http:", "https:")
            settings = make_settings(upstream_adapter=adapter, openai_base_url=url, openai_timeout_seconds=5)
            upstream = open_upstream(target_of(settings), settings)
            try:
                with pytest.raises(UpstreamUnreachableError):
                    await upstream.request("POST", "/responses", body={})
            finally:
                await upstream.aclose()

    @pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
    async def test_a_request_on_a_connection_that_went_stale_is_not_sent_again(self, opened, method):
        """A kept-alive connection is dropped just as the next request arrives: it may have been started."""

        async def once_then_drop(_request: Request, connection: Connection) -> None:
            if len(fake.requests) == 1:
                await connection.answer(200, b"{}")
            else:
                connection.close()

        async with opened(once_then_drop) as (upstream, fake):
            await upstream.request(method, "/first")
            with pytest.raises(UpstreamBrokenError):
                await upstream.request(method, "/second")
        assert [request.path for request in fake.requests] == ["/v1/first", "/v1/second"]

    @pytest.mark.parametrize("method", ["POST", "GET"])
    async def test_a_connection_that_the_upstream_closed_is_not_used_again(self, opened, connections, method):
        async def answer_and_close(_request: Request, connection: Connection) -> None:
            await connection.answer(200, b"{}")
            connection.close()

        async with opened(answer_and_close) as (upstream, fake):
            await upstream.request(method, "/x")
            await until(lambda: not connections[0].is_connected())
            await upstream.request(method, "/x")
        assert fake.count == 2

    async def test_an_answer_to_nothing_is_never_taken_for_the_next_one(self, opened, connections):
        more = asyncio.Event()

        async def twice(_request: Request, connection: Connection) -> None:
            await connection.answer(200, b"right")
            await more.wait()
            await connection.answer(200, b"wrong")

        async with opened(twice) as (upstream, fake):
            for _ in range(3):
                more.clear()
                assert await upstream.request("POST", "/x") == b"right"
                more.set()
                await until(lambda: connections[-1].should_close)
        assert fake.count == 3

    async def test_answers_and_refusals_leave_their_connection_for_the_next_request(self, opened):
        connections = set()

        async def count(request: Request, connection: Connection) -> None:
            connections.add(connection)
            await connection.answer(404 if "missing" in request.path else 200, b"{}")

        async with opened(count) as (upstream, _):
            for path in ("/x", "/missing", "/y"):
                with suppress(UpstreamNotFoundError):
                    await upstream.request("GET", path)
        assert len(connections) == 1

    async def test_who_finds_no_free_connection_is_told_that_nothing_was_started(self, opened):
        limits = {"upstream_max_connections": 1, "openai_connect_timeout_seconds": 0.2}
        async with opened(_endless, **limits) as (upstream, fake):
            stream = await upstream.stream("GET", "/x")
            with pytest.raises(UpstreamUnreachableError):
                await upstream.request("POST", "/responses", body={})
            waiting = asyncio.create_task(upstream.stream("GET", "/y"))
            await asyncio.sleep(0)
            await stream.aclose()
            await (await waiting).aclose()
        assert [request.path for request in fake.requests] == ["/v1/x", "/v1/y"]

    async def test_a_connection_that_is_not_made_in_time_starts_nothing(self, adapter):
        """The upstream takes the connection and never greets in TLS."""

        async def silent(reader: asyncio.StreamReader, _connection: Connection) -> None:
            await reader.read(-1)

        async with raw_upstream(silent) as (url, gone):
            settings = make_settings(
                upstream_adapter=adapter,
                openai_base_url=url.replace("http:", "https:"),
                openai_connect_timeout_seconds=0.2,
            )
            upstream = open_upstream(target_of(settings), settings)
            try:
                with pytest.raises(UpstreamUnreachableError):
                    await upstream.request("POST", "/responses", body={})
            finally:
                await upstream.aclose()
            await until(gone.is_set)

    async def test_closing_the_port_closes_every_connection(self, opened):
        gone = 0

        async def handle(request: Request, connection: Connection) -> None:
            nonlocal gone
            await (_endless if "stream" in request.path else always(200, b"{}"))(request, connection)
            await connection.until_gone()
            gone += 1

        async with opened(handle) as (upstream, _):
            stream = await upstream.stream("GET", "/stream")
            await upstream.request("GET", "/x")
            await upstream.aclose()
            await until(lambda: gone == 2)
            await stream.aclose()
            del stream
            # Warnings of what was left open come from the collector.
            gc.collect()
