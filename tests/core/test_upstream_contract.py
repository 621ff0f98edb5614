"""One contract for both adapters: what they send, how failures of an upstream leave them, what they close."""

import gzip
from urllib.parse import parse_qsl

import pytest

from app.core.upstream.errors import (
    BackgroundRefusedError,
    ConversationLockedError,
    ToolOutputMissingError,
    UpstreamAuthError,
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamMissingError,
    UpstreamModelMissingError,
    UpstreamRefusedError,
    UpstreamRouteMissingError,
    UpstreamServerError,
    UpstreamTimeoutError,
)
from app.core.upstream.factory import open_upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import always, fake_upstream
from tests.support import make_settings

CANARY = "sk-secret-of-org-acme at https://internal.example"


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

    async def test_a_list_in_the_query_is_a_parameter_for_each_value(self, opened):
        async with opened(always(200, b"{}")) as (upstream, fake):
            await upstream.request("GET", "/x", query={"include": ["a.b", "c d"], "limit": 3})
        sent = parse_qsl(fake.requests[0].query_string)
        assert sent == [("include[]", "a.b"), ("include[]", "c d"), ("limit", "3")]

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

    @pytest.mark.parametrize("path", ["/x\r\nx-a: b", "/x y", "/é", "/x\x00", "/x#y"])
    async def test_a_path_must_be_escaped(self, opened, path):
        async with opened(always(200)) as (upstream, fake):
            for call in (upstream.request("GET", path), upstream.stream("GET", path)):
                with pytest.raises(ValueError, match="escaped"):
                    await call
        assert fake.count == 0

    @pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "a\x00b"])
    async def test_a_header_cannot_bring_another_one(self, opened, value):
        async with opened(always(200)) as (upstream, fake):
            with pytest.raises((ValueError, UpstreamBrokenError)):
                await upstream.stream("GET", "/x", headers={"range": value})
        assert fake.count == 0

    async def test_credentials_in_the_address_are_left_out(self, opened, adapter):
        async with fake_upstream(always(200)) as fake:
            url = fake.url.replace("http://", "http://name:word@")
            settings = make_settings(upstream_adapter=adapter, openai_base_url=url, openai_api_key="key")
            upstream = open_upstream(target_of(settings), settings)
            try:
                await upstream.request("GET", "/x")
            finally:
                await upstream.aclose()
        assert fake.requests[0].headers["authorization"] == "Bearer key"
        assert "word" not in fake.requests[0].headers["host"]

    async def test_a_post_without_a_body_says_so(self, opened):
        async with opened(always(200)) as (upstream, fake):
            await upstream.request("POST", "/responses/resp_1/cancel")
        assert fake.requests[0].headers["content-length"] == "0"
        assert fake.requests[0].headers.get("content-type") != "application/octet-stream"


STATUSES = [
    (400, {}, UpstreamRefusedError, 400),
    (401, {}, UpstreamAuthError, 502),
    (403, {}, UpstreamAuthError, 502),
    (404, {}, UpstreamRouteMissingError, 502),
    (404, {"code": "DeploymentNotFound"}, UpstreamModelMissingError, 502),
    (404, {"message": f"Vector store with id 'vs_1' not found: {CANARY}"}, UpstreamMissingError, 502),
    (403, {"code": "model_not_found"}, UpstreamModelMissingError, 502),
    (403, {"code": "insufficient_quota"}, UpstreamBusyError, 429),
    (403, {"code": "content_filter"}, UpstreamRefusedError, 400),
    (403, {"code": "unsupported_country"}, UpstreamAuthError, 502),
    (401, {"code": "insufficient_quota"}, UpstreamAuthError, 502),
    (503, {"code": "content_filter"}, UpstreamRefusedError, 400),
    (429, {"code": "slow_down"}, UpstreamBusyError, 429),
    (400, {"code": "context_length_exceeded"}, UpstreamRefusedError, 400),
    (400, {"code": 400, "type": "exceed_context_size_error"}, UpstreamRefusedError, 400),
    (503, {"type": "overloaded_error"}, UpstreamServerError, 502),
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

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (
                {"error": {"message": "No tool output found for function call call_1.", "param": "input"}},
                ToolOutputMissingError,
            ),
            ({"detail": "background mode is not supported with streaming"}, BackgroundRefusedError),
            ({"detail": "Unknown parameter: 'background'"}, BackgroundRefusedError),
            ({"detail": "Transparent background is not supported for this model."}, UpstreamRefusedError),
            ({"detail": "image background color unsupported"}, UpstreamRefusedError),
            ({"detail": "The prompt speaks of background noise"}, UpstreamRefusedError),
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
