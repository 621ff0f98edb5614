"""Webhook tools over real sockets: the receiver checks every call with the specification's own library."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.core.tools.toolbox import TIMED_OUT, Toolbox
from tests.core.tools.support import CALLER, called, module, outcome
from tests.fake_upstream import fake_upstream
from tests.support import make_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SCHEMA = {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}


def entry(url, **changes):
    return {"name": "stock", "url": url, "description": "Tells the stock.", "parameters": SCHEMA, **changes}


def tools_file(folder, *entries, name="tools.json"):
    file = folder / name
    file.write_text(json.dumps({"tools": entries}))
    return file


def loaded(file, **settings):
    return Toolbox.load(make_settings(tools_file=file, tools_webhook_secret=SECRET, **settings))


@asynccontextmanager
async def receiver(folder, handler, *, settings=None, **changes):
    """A toolbox before a server with this handler; what the server got comes along."""
    async with fake_upstream(handler) as fake:
        box = loaded(tools_file(folder, entry(f"{fake.url}/stock", **changes)), **(settings or {}))
        try:
            yield box, fake.requests
        finally:
            await box.aclose()


def answering(status=200, body=b"12 pieces", **headers):
    async def handler(request, connection):
        await connection.answer(status, body, **headers)

    return handler


async def test_a_call_is_one_signed_post(tmp_path):
    async with receiver(tmp_path, answering()) as (box, requests):
        found = await called(box, "stock", '{"sku": "Größe 7"}')
    assert outcome(found) == ("ok", "12 pieces")
    (request,) = requests
    assert (request.method, request.path) == ("POST", "/v1/stock")
    assert request.headers["content-type"] == "application/json"
    assert "cookie" not in request.headers
    assert Webhook(SECRET).verify(request.body, request.headers) == {
        "tool": "stock",
        "arguments": {"sku": "Größe 7"},
        "caller": {"user_id": "user_1", "claims": {"sub": "user_1"}},
        "thread_id": CALLER.thread_id,
        "run_id": CALLER.run_id,
        "call_id": "call_stock",
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"Gr", b"gr"), request.headers)


async def test_the_id_is_the_calls_own(tmp_path):
    others = [CALLER, CALLER, type(CALLER)("user_1", "thread_1", "run_2"), type(CALLER)()]
    async with receiver(tmp_path, answering()) as (box, requests):
        for caller in others:
            await called(box, "stock", "{}", caller)
    ids = [request.headers["webhook-id"] for request in requests]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (200, b'{"n": 1}', {}, ("ok", '{"n": 1}')),
        (201, "Straße".encode("latin-1"), {"content_type": "text/plain; charset=latin-1"}, ("ok", "Straße")),
        (204, b"", {}, ("ok", "")),
        (200, b"\xff", {}, ("error", "The tool answered with what is no text.")),
        (
            200,
            b"x",
            {"content_type": "a/b; charset=no"},
            ("error", "The tool answered with what is no text."),
        ),
        (302, b"", {"location": "/elsewhere"}, ("error", "The tool answered with status 302.")),
        (404, b'{"e": "No such"}', {}, ("error", 'The tool answered with status 404: {"e": "No such"}')),
        (400, b"<p>", {"content_type": "text/html"}, ("error", "The tool answered with status 400.")),
        (500, b"Traceback: secret", {}, ("error", "The tool answered with status 500.")),
        (200, b"x" * 300_000, {}, ("error", "The tool returned more than 100000 bytes. Ask for less.")),
        (
            200,
            b"x",
            {"content_encoding": "gzip"},
            ("error", "The tool answered in a compressed form, which it was not asked for."),
        ),
    ],
)
async def test_what_an_answer_becomes(tmp_path, status, body, headers, expected):
    async with receiver(tmp_path, answering_as(status, body, headers)) as (box, requests):
        assert outcome(await called(box, "stock", '{"sku": "1"}')) == expected
    assert len(requests) == 1


def answering_as(status, body, headers):
    """Answer with headers of its own, the content type too."""
    kinds = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}

    async def handler(request, connection):
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in kinds.items())]
        head = "\r\n".join([*lines, *([] if status == 204 else [f"content-length: {len(body)}"])])
        await connection.send(head.encode() + b"\r\n\r\n" + body)

    return handler


async def test_an_endless_answer_is_cut(tmp_path):
    async def handler(request, connection):
        await connection.start_stream()
        while connection.is_open:
            await connection.chunk(b"x" * 10_000)

    async with receiver(tmp_path, handler) as (box, _):
        found = await called(box, "stock")
    assert outcome(found) == ("error", "The tool returned more than 100000 bytes. Ask for less.")


async def test_a_receiver_that_resets(tmp_path):
    async def handler(request, connection):
        connection.reset()

    async with receiver(tmp_path, handler) as (box, requests):
        found = await called(box, "stock")
    assert outcome(found) == ("error", "The connection to the tool broke off.")
    assert len(requests) == 1


async def test_an_idempotent_call_is_sent_once_more(tmp_path):
    answers = iter([None, answering()])

    async def handler(request, connection):
        answer = next(answers)
        if answer is None:
            connection.reset()
        else:
            await answer(request, connection)

    async with receiver(tmp_path, handler, idempotent=True) as (box, requests):
        found = await called(box, "stock")
    assert found.outcome == "ok"
    assert len(requests) == 2
    assert len({request.headers["webhook-id"] for request in requests}) == 1


async def test_a_receiver_that_is_not_there(tmp_path):
    box = loaded(tools_file(tmp_path, entry("http://127.0.0.1:9/")))
    assert outcome(await called(box, "stock")) == ("error", "The tool cannot be reached.")
    await box.aclose()


async def test_a_receiver_that_hangs_loses_its_connection(tmp_path):
    async def handler(request, connection):
        await asyncio.sleep(3600)

    async with receiver(tmp_path, handler, timeout_seconds=0.2) as (box, _):
        assert outcome(await called(box, "stock")) == ("timeout", TIMED_OUT)


async def test_headers_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "top-secret")
    headers = {"Authorization": "Bearer ${SHOP_TOKEN}", "webhook-id": "forged", "Content-Type": "text/html"}
    async with receiver(tmp_path, answering(), headers=headers) as (box, requests):
        await called(box, "stock")
    (request,) = requests
    assert request.headers["authorization"] == "Bearer top-secret"
    assert request.headers["content-type"] == "application/json"
    Webhook(SECRET).verify(request.body, request.headers)


async def test_cookies_are_not_kept(tmp_path):
    async with receiver(tmp_path, answering(set_cookie="a=b")) as (box, requests):
        await called(box, "stock")
        await called(box, "stock")
    assert [request.headers.get("cookie") for request in requests] == [None, None]


async def test_a_proxy_of_the_environment_is_asked(tmp_path, monkeypatch):
    async with fake_upstream(answering(200, b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        box = loaded(tools_file(tmp_path, entry("http://shop.example/stock")))
        assert outcome(await called(box, "stock")) == ("ok", "by proxy")
        await box.aclose()
    assert [request.headers["host"] for request in proxy.requests] == ["shop.example"]


def test_yaml_says_the_same(tmp_path):
    file = tmp_path / "tools.yaml"
    file.write_text(
        "tools:\n"
        "  - name: stock\n"
        "    url: https://shop.example/stock\n"
        "    description: Tells the stock.\n"
        "    approval: always\n"
        "    idempotent: true\n"
        "    visible: full\n"
        "    timeout_seconds: 3\n"
    )
    tool = loaded(file).get("stock")
    assert tool is not None
    assert (tool.needs_approval, tool.is_idempotent, tool.visible, tool.timeout_seconds) == (
        True,
        True,
        "full",
        3,
    )
    assert tool.spec["function"] == {
        "name": "stock",
        "description": "Tells the stock.",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.json", "{", "is no JSON: Expecting property name"),
        ("t.yaml", "a: [", "is no YAML: "),
        ("t.yaml", "", "the whole: Input should be"),
        ("t.json", '{"tool": []}', "tools: Field required"),
        ("t.json", '[{"name": "a b", "url": "http://a"}]', "tools.0.name: String should match"),
        ("t.json", '[{"name": "a", "url": "ftp://a"}]', "tools.0.url: Value error, must be a whole"),
        ("t.json", '[{"name": "a", "url": "http://a", "uri": 1}]', "tools.0.uri: Extra inputs"),
        (
            "t.json",
            '[{"name": "a", "url": "http://a", "parameters": []}]',
            'tools.0.parameters: Value error, must be a JSON schema with "type": "object"',
        ),
        (
            "t.json",
            '[{"name": "a", "url": "http://a", "headers": {"x": "${NOT_SET_AT_ALL}"}}]',
            "the tool 'a': its header 'x' needs the variable NOT_SET_AT_ALL, which is not set",
        ),
        (
            "t.json",
            '[{"name": "a", "url": "http://a", "headers": {"x": "a\\nb"}}]',
            "the tool 'a': its header 'x' cannot be sent",
        ),
    ],
)
def test_mistakes_stop_the_start_in_a_line_each(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match="TOOLS_FILE=") as caught:
        loaded(file)
    assert message in str(caught.value)


def test_calls_are_always_signed(tmp_path):
    file = tools_file(tmp_path, entry("http://127.0.0.1:9/"))
    with pytest.raises(ValueError, match="TOOLS_FILE needs TOOLS_WEBHOOK_SECRET"):
        Toolbox.load(make_settings(tools_file=file))


@pytest.mark.parametrize("secret", ["whsec_", "short", "whsec_c2hvcnQ=", "whsec_äää"])
def test_a_secret_that_is_none(secret):
    with pytest.raises(ValueError, match="tools_webhook_secret"):
        make_settings(tools_webhook_secret=secret)


def test_a_function_and_a_webhook_of_one_name(tmp_path):
    file = tools_file(tmp_path, entry("http://127.0.0.1:9/"))
    with pytest.raises(ValueError, match="two tools have the name 'stock'"):
        loaded(file, tools_module=module(tmp_path, "@tool\ndef stock(): ..."))
