"""What browsers are told: origins, headers, host names, documents."""

import pytest

from app.api.middleware.cors import EXPOSED_HEADERS, REQUEST_HEADERS
from tests.security.support import GUARDED, KEY_A, PAGE, bearer, mint
from tests.support import error_of

CORS = GUARDED | {"cors_origins": [PAGE]}
# What openai 7 for browsers, the AI SDK and deep-chat put on their requests.
SDK_HEADERS = (
    "authorization,content-type,openai-beta,x-stainless-arch,x-stainless-helper-method,x-stainless-lang,"
    "x-stainless-os,x-stainless-package-version,x-stainless-poll-helper,x-stainless-retry-count,"
    "x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout,x-stainless-of-the-next-major,user-agent"
)


def preflight(origin=PAGE, method="POST", headers="authorization,content-type"):
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }


class TestCors:
    async def test_is_closed_by_default(self, start, upstream):
        async with start(url=upstream, **GUARDED) as service:
            response = await service.client.options("chat", headers=preflight())
            error_of(response, 405)
            plain = await service.client.get("assistants", headers=bearer(KEY_A, origin=PAGE))
        for found in (response, plain):
            assert not [name for name in found.headers if name.startswith("access-control-")]

    async def test_lets_sdks_send_what_they_send(self, start, upstream):
        async with start(url=upstream, **CORS) as service:
            response = await service.client.options("chat", headers=preflight(headers=SDK_HEADERS))
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == PAGE
        allowed = {
            name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")
        }
        assert set(SDK_HEADERS.split(",")) <= allowed
        assert set(REQUEST_HEADERS) <= allowed
        assert "access-control-allow-credentials" not in response.headers

    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("https://page.example:443", "https://page.example"),
            ("http://PAGE.example:80/", "http://page.example"),
            ("https://münchen.example", "https://xn--mnchen-3ya.example"),
            ("http://page.example:8080", "http://page.example:8080"),
        ],
    )
    async def test_compares_origins_as_browsers_send_them(self, start, upstream, written, sent):
        async with start(url=upstream, **GUARDED, cors_origins=[written]) as service:
            asked = await service.client.options("chat", headers=preflight(origin=sent))
            token = await mint(service.client, origins=[written])
            known = bearer(token, origin=sent)
            answered = await service.client.get("assistants", headers=known)
        assert (asked.status_code, answered.status_code) == (200, 200)
        assert asked.headers["access-control-allow-origin"] == sent

    @pytest.mark.parametrize("headers", ["x-stainless-lang", "Authorization, X-Stainless-OS"])
    async def test_takes_headers_in_any_spelling(self, start, upstream, headers):
        async with start(url=upstream, **CORS) as service:
            assert (
                await service.client.options("chat", headers=preflight(headers=headers))
            ).status_code == 200

    @pytest.mark.parametrize(
        "asked",
        [
            preflight(origin="https://evil.example"),
            preflight(origin=PAGE + ".evil.example"),
            preflight(origin="null"),
            preflight(origin="http://page.example"),
            preflight(method="PUT"),
            preflight(headers="x-anything"),
            preflight(headers="x-stainless-<script>"),
        ],
    )
    async def test_refuses_all_else_in_the_envelope(self, start, upstream, asked):
        async with start(url=upstream, **CORS) as service:
            response = await service.client.options("chat", headers=asked)
        assert error_of(response, 403)["code"] == "cors_refused"
        assert asked["access-control-request-headers"] not in response.headers.get(
            "access-control-allow-headers", ""
        )

    async def test_pages_can_read_failures_and_what_sdks_need(self, start, upstream):
        async with start(url=upstream, **CORS) as service:
            for headers in (bearer("wrong", origin=PAGE), bearer(KEY_A, origin=PAGE)):
                response = await service.client.get("assistants", headers=headers)
                assert response.headers["access-control-allow-origin"] == PAGE
                exposed = response.headers["access-control-expose-headers"].split(", ")
                assert exposed == EXPOSED_HEADERS
            other = await service.client.get(
                "assistants", headers=bearer(KEY_A, origin="https://evil.example")
            )
            assert "access-control-allow-origin" not in other.headers
            assert other.headers["vary"] == "Origin"


class TestHeaders:
    @pytest.mark.parametrize("path", ["assistants", "nothing", "health"])
    async def test_answers_of_the_api_are_for_one_reader(self, client, path):
        headers = (await client.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers

    async def test_streams_keep_their_own(self, live):
        response = await live.post("chat", json={"message": "hi", "stream": True})
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"


class TestHosts:
    @pytest.mark.parametrize("host", ["api.example", "API.example:8010", "a.b.sub.example", "[::1]:8010"])
    async def test_listed_names_are_served(self, start, upstream, host):
        hosts = ["api.example", "*.sub.example", "[::1]"]
        async with start(url=upstream, trusted_hosts=hosts) as service:
            assert (await service.client.get("assistants", headers={"host": host})).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "sub.example", "api.example.evil", "xapi.example", ""])
    async def test_others_are_not(self, start, upstream, host):
        hosts = ["api.example", "*.sub.example"]
        async with start(url=upstream, trusted_hosts=hosts) as service:
            response = await service.client.get("assistants", headers={"host": host})
            assert error_of(response, 400)["code"] == "unknown_host"
            assert (await service.client.get("health", headers={"host": host})).status_code == 200


class TestDocuments:
    @pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
    async def test_can_be_switched_off(self, start, upstream, path):
        async with start(url=upstream, docs_enabled=False) as service:
            error_of(await service.client.get(f"http://localhost{path}"), 404)

    async def test_say_how_to_authorise(self, client):
        document = (await client.get("http://localhost/openapi.json")).json()
        schemes = document["components"]["securitySchemes"]
        assert schemes["Bearer"]["scheme"] == "bearer"
        assert schemes["ApiKey"]["name"] == "x-api-key"
        chat = document["paths"]["/api/v1/chat"]["post"]
        assert chat["security"] == [{"Bearer": []}, {"ApiKey": []}]
        assert {"401", "403", "413", "422", "429"} <= set(chat["responses"])
        assert "security" not in document["paths"]["/api/v1/health"]["get"]
