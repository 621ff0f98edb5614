"""One contract for both adapters: what they send, how failures of an upstream leave them, what they close."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from app.core.lifespan import open_upstream
from app.core.upstream.failures import (
    BackgroundRefusedError,
    ConversationLockedError,
    ToolOutputMissingError,
    UpstreamAuthError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamMissingError,
    UpstreamRefusedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import Upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import Connection, FakeUpstream, Handler, Request, always, fake_upstream
from tests.support import make_settings

Open = Callable[..., AbstractAsyncContextManager[tuple[Upstream, FakeUpstream]]]
CANARY = "sk-secret-of-org-acme at https://internal.example"


@pytest.fixture
def opened(adapter: str) -> Open:
    """An upstream port in front of a handler; other arguments are settings."""

    @asynccontextmanager
    async def begin(handler: Handler, **changes: Any) -> AsyncIterator[tuple[Upstream, FakeUpstream]]:
        async with fake_upstream(handler) as fake:
            defaults = {"openai_base_url": fake.url, "openai_api_key": "key", "openai_timeout_seconds": 20}
            settings = make_settings(upstream_adapter=adapter, **(defaults | changes))
            upstream = open_upstream(target_of(settings), settings)
            try:
                yield upstream, fake
            finally:
                await upstream.aclose()

    return begin


class TestRequests:
    async def test_a_request_goes_out_whole_and_once(self, opened):
        async with opened(always(200, b'{"id": "x"}')) as (upstream, fake):
            sending = {"input": "né 文", "stream": True}
            query = {"limit": 3, "order": "asc"}
            body = await upstream.request("POST", "/responses", body=sending, query=query)
        assert body == b'{"id": "x"}'
        sent = fake.requests[0]
        assert (sent.method, sent.path, sent.query) == (
            "POST",
            "/v1/responses",
            {"limit": "3", "order": "asc"},
        )
        assert sent.json == sending
        assert sent.headers["content-type"] == "application/json"
        assert sent.headers["authorization"] == "Bearer key"
        assert fake.count == 1

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    async def test_a_request_without_a_body_sends_none(self, opened, method):
        async with opened(always(200, b"{}")) as (upstream, fake):
            await upstream.request(method, "/conversations/conv_1")
        assert fake.requests[0].method == method
        assert fake.requests[0].body == b""

    async def test_an_empty_answer_is_an_answer(self, opened):
        async with opened(always(200)) as (upstream, _):
            assert await upstream.request("DELETE", "/conversations/conv_1") == b""

    async def test_a_compressed_answer_is_unpacked(self, opened):
        packed = gzip.compress(b'{"id": "x"}')
        async with opened(always(200, packed, content_encoding="gzip")) as (upstream, _):
            assert await upstream.request("GET", "/x") == b'{"id": "x"}'

    async def test_organisation_and_project_go_along(self, opened):
        async with opened(always(200), openai_organization="org-1", openai_project="proj-1") as (
            upstream,
            fake,
        ):
            await upstream.request("GET", "/x")
        assert fake.requests[0].headers["openai-organization"] == "org-1"
        assert fake.requests[0].headers["openai-project"] == "proj-1"

    async def test_nothing_is_said_of_an_organisation_that_is_not_set(self, opened):
        async with opened(always(200)) as (upstream, fake):
            await upstream.request("GET", "/x")
        assert not {"openai-organization", "openai-project", "api-key"} & set(fake.requests[0].headers)

    async def test_azure_gets_its_own_header_and_path(self, adapter):
        async with fake_upstream(always(200)) as fake:
            settings = make_settings(
                upstream_adapter=adapter,
                azure_openai_endpoint=fake.url.removesuffix("/v1") + "/",
                azure_openai_key="azure-key",
            )
            upstream = open_upstream(target_of(settings), settings)
            try:
                await upstream.request("GET", "/models/m")
            finally:
                await upstream.aclose()
        assert fake.requests[0].path == "/openai/v1/models/m"
        assert fake.requests[0].headers["api-key"] == "azure-key"

    async def test_an_escaped_path_stays_escaped(self, opened):
        async with opened(always(200)) as (upstream, fake):
            await upstream.request("GET", "/files/a%2Fb/content")
        assert fake.requests[0].path == "/v1/files/a%2Fb/content"

    async def test_cookies_of_the_upstream_are_not_kept(self, opened):
        async with opened(always(200, set_cookie="session=1; Path=/")) as (upstream, fake):
            await upstream.request("GET", "/x")
            await upstream.request("GET", "/x")
        assert "cookie" not in fake.requests[1].headers

    async def test_an_upload_streams_one_multipart_file(self, opened):
        async def chunks() -> AsyncIterator[bytes]:
            for piece in (b"first ", b"second"):
                yield piece

        async with opened(always(200, b'{"id": "file-1"}')) as (upstream, fake):
            answer = await upstream.upload(
                "/files",
                fields={"purpose": "assistants"},
                filename='a "b"\r\n.txt',
                content_type="text/plain",
                chunks=chunks(),
            )
        assert answer == b'{"id": "file-1"}'
        sent = fake.requests[0]
        boundary = sent.headers["content-type"].removeprefix("multipart/form-data; boundary=").encode()
        parts = sent.body.split(b"--" + boundary)
        assert parts[1].endswith(b'name="purpose"\r\n\r\nassistants\r\n')
        assert b'name="file"; filename="a %22b%22%0D%0A.txt"\r\ncontent-type: text/plain\r\n\r\n' in parts[2]
        assert parts[2].endswith(b"\r\n\r\nfirst second\r\n")
        assert parts[3] == b"--\r\n"
        assert sent.headers["authorization"] == "Bearer key"


STATUSES = [
    (400, {}, UpstreamRefusedError, 400),
    (401, {}, UpstreamAuthError, 502),
    (403, {}, UpstreamAuthError, 502),
    (404, {}, UpstreamMissingError, 404),
    (408, {}, UpstreamTimeoutError, 504),
    (409, {}, ConversationLockedError, 400),
    (413, {}, UpstreamRefusedError, 400),
    (422, {}, UpstreamRefusedError, 400),
    (429, {}, UpstreamBusyError, 429),
    (500, {}, UpstreamServerError, 502),
    (502, {}, UpstreamServerError, 502),
    (503, {}, UpstreamServerError, 502),
    (504, {}, UpstreamTimeoutError, 504),
    (400, {"code": "conversation_locked"}, ConversationLockedError, 400),
    (400, {"param": "background"}, BackgroundRefusedError, 400),
]


class TestStatuses:
    @pytest.mark.parametrize(("status", "detail", "kind", "told"), STATUSES)
    async def test_every_refusal_has_its_error(self, opened, status, detail, kind, told):
        body = {"error": {"message": CANARY, "type": CANARY, "param": None, "code": None, **detail}}
        async with opened(always(status, body, x_request_id="req_up")) as (upstream, fake):
            for call in (
                upstream.request("POST", "/responses", body={}),
                upstream.stream("POST", "/responses", body={}),
            ):
                with pytest.raises(kind) as caught:
                    await call
                assert type(caught.value) is kind
                assert caught.value.status_code == told
                assert caught.value.upstream_status == status
                assert caught.value.upstream_request_id == "req_up"
                assert "secret" not in str(caught.value.body()) + str(caught.value.headers)
        assert fake.count == 2

    async def test_an_upload_is_refused_in_the_same_words(self, opened):
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"

        async with opened(always(413, {"error": {"message": CANARY}})) as (upstream, _):
            with pytest.raises(UpstreamRefusedError):
                await upstream.upload(
                    "/files", fields={}, filename="x", content_type="text/plain", chunks=chunks()
                )

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (
                {"error": {"message": "No tool output found for function call call_1.", "param": "input"}},
                ToolOutputMissingError,
            ),
            ({"detail": "background mode is not supported with streaming"}, BackgroundRefusedError),
            ({"detail": [{"loc": ["body"], "msg": "x"}]}, UpstreamRefusedError),
            ({"error": "a bare string"}, UpstreamRefusedError),
            ([], UpstreamRefusedError),
            (b"<html>no JSON</html>", UpstreamRefusedError),
            (b"", UpstreamRefusedError),
        ],
    )
    async def test_bodies_of_every_kind_are_read(self, opened, body, kind):
        async with opened(always(400, body)) as (upstream, _):
            with pytest.raises(UpstreamRefusedError) as caught:
                await upstream.request("POST", "/responses", body={})
        assert type(caught.value) is kind

    @pytest.mark.parametrize(
        ("sent", "told"), [("7", "7"), ("1.5", "1.5"), ("soon", "5"), ("-1", "5"), (None, "5")]
    )
    async def test_a_rate_limit_passes_its_retry_after(self, opened, sent, told):
        headers = {"retry_after": sent} if sent else {}
        async with opened(always(429, {"error": {"message": "x"}}, **headers)) as (upstream, fake):
            with pytest.raises(UpstreamBusyError) as caught:
                await upstream.request("POST", "/responses", body={})
        assert caught.value.headers["retry-after"] == told
        assert fake.count == 1

    async def test_a_used_up_quota_is_not_worth_a_retry(self, opened):
        body = {"error": {"message": "x", "code": "insufficient_quota"}}
        async with opened(always(429, body, retry_after="1")) as (upstream, _):
            with pytest.raises(UpstreamBusyError) as caught:
                await upstream.request("POST", "/responses", body={})
        assert caught.value.code == "upstream_quota_exhausted"
        assert caught.value.headers == {"x-should-retry": "false"}

    async def test_codes_and_parameters_pass_only_in_a_harmless_form(self, opened):
        body = {"error": {"message": "x", "param": "tools[0].name", "code": "string_above_max_length"}}
        async with opened(always(400, body)) as (upstream, fake):
            with pytest.raises(UpstreamRefusedError) as caught:
                await upstream.request("POST", "/responses", body={})
            assert (caught.value.param, caught.value.code) == ("tools[0].name", "string_above_max_length")
            fake.handler = always(400, {"error": {"message": "x", "param": CANARY, "code": CANARY}})
            with pytest.raises(UpstreamRefusedError) as caught:
                await upstream.request("POST", "/responses", body={})
        assert (caught.value.param, caught.value.code) == (None, "upstream_refused")

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_redirects_are_not_followed(self, opened, status):
        async with opened(always(status, location="/v1/elsewhere")) as (upstream, fake):
            with pytest.raises(UpstreamServerError):
                await upstream.request("POST", "/responses", body={"secret": 1})
            with pytest.raises(UpstreamServerError):
                await upstream.stream("GET", "/responses")
        assert [request.path for request in fake.requests] == ["/v1/responses", "/v1/responses"]


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

    async def test_a_post_on_a_connection_that_went_stale_is_not_sent_again(self, opened):
        """A kept-alive connection is dropped just as the next request arrives: it may have been started."""

        async def once_then_drop(_request: Request, connection: Connection) -> None:
            if len(fake.requests) == 1:
                await connection.answer(200, b"{}")
            else:
                connection.close()

        async with opened(once_then_drop) as (upstream, fake):
            await upstream.request("POST", "/responses", body={"n": 1})
            with pytest.raises(UpstreamBrokenError):
                await upstream.request("POST", "/responses", body={"n": 2})
        assert [request.json for request in fake.requests] == [{"n": 1}, {"n": 2}]


class TestStreams:
    async def test_pieces_come_as_the_upstream_writes_them(self, opened):
        more = asyncio.Event()

        async def two(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await more.wait()
            await connection.chunk(b"data: 2\n\n")
            await connection.end_stream()

        async with opened(two) as (upstream, fake):
            stream = await upstream.stream("POST", "/responses", body={"stream": True}, headers={"x-a": "b"})
            assert stream.headers["content-type"] == "text/event-stream"
            reads = aiter(stream)
            assert await anext(reads) == b"data: 1\n\n"
            more.set()
            assert await anext(reads) == b"data: 2\n\n"
            with pytest.raises(StopAsyncIteration):
                await anext(reads)
            await stream.aclose()
        assert fake.requests[0].headers["x-a"] == "b"

    @pytest.mark.parametrize("is_read", [False, True])
    async def test_closing_a_stream_closes_its_connection(self, opened, is_read):
        gone = asyncio.Event()

        async def endless(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await connection.until_gone()
            gone.set()

        async with opened(endless) as (upstream, _):
            stream = await upstream.stream("GET", "/responses/resp_1", query={"stream": "true"})
            if is_read:
                await anext(aiter(stream))
            await stream.aclose()
            await stream.aclose()
            await gone.wait()

    async def test_a_cancelled_request_closes_its_connection(self, opened):
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def silent(_request: Request, connection: Connection) -> None:
            arrived.set()
            await connection.until_gone()
            gone.set()

        async with opened(silent) as (upstream, _):
            task = asyncio.create_task(upstream.request("POST", "/responses", body={}))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()

    async def test_a_stream_that_breaks_off_is_broken(self, opened):
        async def cut(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            connection.close()

        async with opened(cut) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            with pytest.raises(UpstreamBrokenError):
                await _read_all(stream)
            await stream.aclose()

    async def test_a_stream_that_falls_silent_times_out(self, opened):
        async def stall(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            await connection.chunk(b"data: 1\n\n")
            await connection.until_gone()

        async with opened(stall, openai_timeout_seconds=0.2) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            with pytest.raises(UpstreamTimeoutError):
                await _read_all(stream)
            await stream.aclose()

    async def test_a_stream_may_take_longer_than_the_timeout_while_it_speaks(self, opened):
        async def patient(_request: Request, connection: Connection) -> None:
            await connection.start_stream()
            for _ in range(6):
                await asyncio.sleep(0.1)
                await connection.chunk(b"data: 1\n\n")
            await connection.end_stream()

        async with opened(patient, openai_timeout_seconds=0.5) as (upstream, _):
            stream = await upstream.stream("POST", "/responses", body={})
            assert await _read_all(stream) == b"data: 1\n\n" * 6
            await stream.aclose()

    async def test_a_connection_serves_again_after_a_stream_was_read_to_its_end(self, opened):
        connections = set()

        async def count(_request: Request, connection: Connection) -> None:
            connections.add(connection)
            await connection.start_stream()
            await connection.end_stream()

        async with opened(count) as (upstream, _):
            for _ in range(3):
                stream = await upstream.stream("POST", "/responses", body={})
                await _read_all(stream)
                await stream.aclose()
        assert len(connections) == 1


async def _read_all(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])
