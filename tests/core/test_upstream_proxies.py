"""The proxy of the environment, through both adapters: found at the start, not used for this machine."""

import pytest

from app.core.config_checks import environment_proxy
from app.core.upstream.errors import UpstreamUnreachableError
from app.core.upstream.factory import open_upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import always, fake_upstream
from tests.support import make_settings

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("https://api.openai.com/v1", {}, None),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://api.openai.com/v1", {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://api.openai.com/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("https://api.openai.com/v1", {"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://ogx.example:8321/v1", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://ogx.example:8321/v1", {"ALL_PROXY": "http://proxy", "NO_PROXY": "ogx.example"}, None),
        ("http://ogx.example:8321/v1", {"ALL_PROXY": "http://proxy", "NO_PROXY": ".example"}, None),
        ("http://ogx.example:8321/v1", {"ALL_PROXY": "http://proxy", "NO_PROXY": "*"}, None),
        ("http://ogx.example:8321/v1", {"ALL_PROXY": "http://proxy", "NO_PROXY": "other"}, "http://proxy"),
        ("http://127.0.0.1:8321/v1", {"ALL_PROXY": "http://proxy"}, None),
        ("http://localhost:8321/v1", {"ALL_PROXY": "socks5://proxy"}, None),
        ("http://[::1]:8321/v1", {"ALL_PROXY": "http://proxy"}, None),
    ],
)
def test_the_environment_names_the_proxy(monkeypatch, url, environment, found):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(url) == found


@pytest.mark.parametrize("url", [None, "https://gateway.example/v1"])
def test_a_proxy_that_speaks_no_http_stops_the_start(monkeypatch, url):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ValueError, match="HTTPS_PROXY or ALL_PROXY must be an http URL"):
        make_settings(openai_api_key="key", openai_base_url=url)
    assert make_settings().upstream_kind == "embedded"


async def test_requests_travel_through_the_proxy(monkeypatch, adapter):
    async with fake_upstream(always(200, b"{}")) as proxy:
        monkeypatch.setenv(
            "HTTP_PROXY", proxy.url.replace("http://", "http://me:secret@").removesuffix("/v1")
        )
        settings = make_settings(upstream_adapter=adapter, openai_base_url="http://upstream.test/v1")
        upstream = open_upstream(target_of(settings), settings)
        monkeypatch.delenv("HTTP_PROXY")
        try:
            for _ in range(2):
                assert await upstream.request("GET", "/x") == b"{}"
        finally:
            await upstream.aclose()
    for sent in proxy.requests:
        assert (sent.headers["host"], sent.path) == ("upstream.test", "/v1/x")
        assert sent.headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    assert proxy.count == 2


async def test_this_machine_is_reached_without_the_proxy(monkeypatch, opened):
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with opened(always(200, b"{}")) as (upstream, fake):
        assert await upstream.request("GET", "/x") == b"{}"
    assert fake.count == 1


async def test_a_proxy_that_opens_no_tunnel_starts_nothing(monkeypatch, adapter):
    async with fake_upstream(always(403, b"no")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/v1"))
        settings = make_settings(upstream_adapter=adapter, openai_base_url="https://upstream.test/v1")
        upstream = open_upstream(target_of(settings), settings)
        try:
            with pytest.raises(UpstreamUnreachableError):
                await upstream.request("POST", "/responses", body={"secret": 1})
        finally:
            await upstream.aclose()
    assert [sent.method for sent in proxy.requests] == ["CONNECT"]
    assert "authorization" not in proxy.requests[0].headers
