"""What the operator learns when the upstream cannot be used: the cause, which clients do not learn."""

import asyncio
import datetime as dt
import json
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.upstream.errors import UpstreamUnreachableError
from app.core.upstream.factory import open_upstream
from app.core.upstream.target import target_of
from bench.processes import free_port
from tests.fake_upstream import always, fake_upstream
from tests.support import error_of, in_process, make_settings

REFUSED = {"error": {"message": "Incorrect API key provided: sk-canary", "code": "invalid_api_key"}}


async def reason_of_failure(adapter, url):
    settings = make_settings(upstream_adapter=adapter, openai_base_url=url)
    upstream = open_upstream(target_of(settings), settings)
    try:
        with pytest.raises(UpstreamUnreachableError) as caught:
            await upstream.request("GET", "/models/x")
    finally:
        await upstream.aclose()
    assert caught.value.upstream_reason
    assert caught.value.upstream_reason not in str(caught.value.body())
    return caught.value.upstream_reason


@asynccontextmanager
async def self_signed(folder):
    """A server whose certificate nobody signed; its URL."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    ) as it:
        yield f"https://127.0.0.1:{it.sockets[0].getsockname()[1]}/v1"


class TestReasons:
    async def test_a_certificate_that_is_not_trusted(self, adapter, tmp_path):
        async with self_signed(tmp_path) as url:
            reason = await reason_of_failure(adapter, url)
        assert reason.startswith("its certificate is not trusted (self-signed certificate): name your own")

    async def test_an_address_without_tls(self, adapter):
        async with fake_upstream(always(200, b"{}")) as fake:
            reason = await reason_of_failure(adapter, fake.url.replace("http:", "https:"))
        assert reason.startswith("it breaks the TLS handshake off")

    async def test_a_port_on_which_nothing_listens(self, adapter):
        reason = await reason_of_failure(adapter, f"http://127.0.0.1:{free_port()}/v1")
        assert reason == "nothing listens there: check the address and the port"

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_a_proxy_that_wants_a_password(self, adapter, scheme, monkeypatch):
        async with fake_upstream(always(407, b"no")) as proxy:
            monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url.removesuffix("/v1"))
            reason = await reason_of_failure(adapter, f"{scheme}://upstream.test/v1")
        assert reason.startswith("the proxy refuses with 407: it wants a user and password")

    async def test_a_proxy_that_is_away(self, adapter, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
        reason = await reason_of_failure(adapter, "https://upstream.test/v1")
        assert reason.startswith("the proxy cannot be reached")


class TestLog:
    @pytest.fixture
    def asked(self, tmp_path):
        """Ask a service in front of this handler twice; what it logs, and its answer."""

        async def ask(handler, path):
            log = tmp_path / "app.log"
            async with fake_upstream(handler) as fake:
                logged = {"log_file": log, "log_level": "info"}
                settings = make_settings(openai_base_url=fake.url, openai_api_key="sk-canary", **logged)
                async with in_process(settings) as service:
                    answers = [await service.client.request(*path) for _ in range(2)]
            return [json.loads(line) for line in log.read_text().splitlines()], answers[-1]

        return ask

    async def test_a_refused_key_is_an_error(self, asked):
        lines, answer = await asked(always(401, REFUSED), ("POST", "threads"))
        error_of(answer, 502)
        found = [line for line in lines if line["event"] == "upstream_key_refused"]
        assert [(line["level"], line["status"], line["code"]) for line in found[:1]] == [
            ("error", 401, "invalid_api_key")
        ]
        assert "canary" not in str(lines)

    async def test_the_check_tells_a_cause_once(self, asked):
        missing = {"error": {"message": "The model does not exist", "code": "model_not_found"}}
        lines, _ = await asked(always(404, missing), ("GET", "ready"))
        found = [line for line in lines if line["event"] == "upstream_unusable"]
        assert [(line["level"], line["code"]) for line in found] == [("error", "upstream_model_not_found")]
