"""No exception of aiohttp or of the SDK leaves an adapter untranslated: every class is listed here."""

import ssl
from collections.abc import Iterator

import aiohttp
import openai
import pytest
import respx
from aiohttp.client_exceptions import ConnectionTimeoutError
from pytest_httpx2._plugin import HTTPCore2Mocker

from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.sdk import SdkUpstream
from app.core.upstream.session import upstream_error_of
from app.core.upstream.target import target_of
from tests.fake_upstream import always, fake_upstream
from tests.support import make_settings

AIOHTTP_ERRORS: dict[str, type[UpstreamError]] = {
    "ClientConnectionError": UpstreamBrokenError,
    "ClientConnectionResetError": UpstreamBrokenError,
    "ClientConnectorCertificateError": UpstreamUnreachableError,
    "ClientConnectorDNSError": UpstreamUnreachableError,
    "ClientConnectorError": UpstreamUnreachableError,
    "ClientConnectorSSLError": UpstreamUnreachableError,
    "ClientError": UpstreamBrokenError,
    "ClientHttpProxyError": UpstreamUnreachableError,
    "ClientOSError": UpstreamBrokenError,
    "ClientPayloadError": UpstreamBrokenError,
    "ClientProxyConnectionError": UpstreamUnreachableError,
    "ClientResponseError": UpstreamBrokenError,
    "ClientSSLError": UpstreamUnreachableError,
    "ConnectionTimeoutError": UpstreamUnreachableError,
    "ContentTypeError": UpstreamBrokenError,
    "InvalidURL": UpstreamBrokenError,
    "InvalidUrlClientError": UpstreamBrokenError,
    "InvalidUrlRedirectClientError": UpstreamBrokenError,
    "NonHttpUrlClientError": UpstreamBrokenError,
    "NonHttpUrlRedirectClientError": UpstreamBrokenError,
    "RedirectClientError": UpstreamBrokenError,
    "ServerConnectionError": UpstreamBrokenError,
    "ServerDisconnectedError": UpstreamBrokenError,
    "ServerFingerprintMismatch": UpstreamBrokenError,
    "ServerTimeoutError": UpstreamTimeoutError,
    "SocketTimeoutError": UpstreamTimeoutError,
    "TooManyRedirects": UpstreamBrokenError,
    "UnixClientConnectorError": UpstreamUnreachableError,
    "UploadAbortedError": UpstreamBrokenError,
    "WSServerHandshakeError": UpstreamBrokenError,
}


def family(root: type[Exception]) -> Iterator[type[Exception]]:
    """A class and everything that derives from it in its own library."""
    yield root
    for found in root.__subclasses__():
        if found.__module__.split(".")[0] == root.__module__.split(".")[0]:
            yield from family(found)


class TestAiohttp:
    def test_every_error_of_aiohttps_client_is_listed(self):
        assert {kind.__name__ for kind in family(aiohttp.ClientError)} == AIOHTTP_ERRORS.keys()

    @pytest.mark.parametrize("kind", sorted(set(family(aiohttp.ClientError)), key=str))
    def test_each_becomes_one_of_ours(self, kind):
        error = kind.__new__(kind)
        vars(error).update(status=403, _certificate_error=ssl.SSLError())
        assert type(upstream_error_of(error)) is AIOHTTP_ERRORS[kind.__name__]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (TimeoutError(), UpstreamTimeoutError),
            (ConnectionTimeoutError(), UpstreamUnreachableError),
            (ConnectionResetError(), UpstreamBrokenError),
            (ssl.SSLError(), UpstreamBrokenError),
            (OSError(24, "Too many open files"), UpstreamBrokenError),
        ],
    )
    def test_errors_of_the_system_do_too(self, error, kind):
        assert type(upstream_error_of(error)) is kind


class TestSdk:
    @pytest.fixture
    async def raising(self, monkeypatch):
        """Ask an adapter whose SDK raises this; what comes out."""
        settings = make_settings(openai_base_url="http://127.0.0.1:9/v1")
        upstream = SdkUpstream(target_of(settings), settings)

        async def ask(error: Exception) -> UpstreamError:
            async def fail(*_: object, **__: object) -> None:
                raise error

            monkeypatch.setattr(upstream._client, "get", fail)
            with pytest.raises(UpstreamError) as caught:
                await upstream.request("GET", "/x")
            return caught.value

        yield ask
        await upstream.aclose()

    async def test_every_error_of_the_sdk_is_caught(self, raising):
        for kind in set(family(openai.OpenAIError)):
            assert type(await raising(kind.__new__(kind))) is UpstreamBrokenError, kind

    @pytest.mark.parametrize("kind", [openai.APIConnectionError, openai.APITimeoutError])
    async def test_what_the_sdk_wraps_comes_out_as_it_was(self, raising, kind):
        wrapped = UpstreamBusyError("busy")
        error = kind.__new__(kind)
        error.__cause__ = wrapped
        assert await raising(error) is wrapped

    async def test_the_sdk_opens_no_connection_of_its_own(self):
        """What it writes goes over our session, with its bounds, and never over a transport of its own."""
        async with fake_upstream(always(200, b"{}")) as fake:
            settings = make_settings(openai_base_url=fake.url, openai_api_key="key")
            with respx.mock(using=HTTPCore2Mocker.name, assert_all_called=False) as router:
                upstream = SdkUpstream(target_of(settings), settings)
                for method in ("GET", "POST", "DELETE"):
                    assert await upstream.request(method, "/x") == b"{}"
                await upstream.aclose()
        assert not router.calls
        assert {sent.headers["user-agent"].split("/")[0] for sent in fake.requests} == {"AsyncOpenAI"}
