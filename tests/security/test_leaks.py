"""Nothing of the upstream's account reaches a client or the log, however the upstream puts it."""

import json
import logging
import re
from typing import Any

import pytest

from app.utils.ids import IdCodec
from tests.fake_upstream import fake_upstream
from tests.security.routes import ROUTES
from tests.security.support import GUARDED, KEY_A, SECRET, bearer, mint
from tests.security.upstream_errors import CANARY, FAILURES, KEY, MAIL, ORGANIZATION, PROJECT, URL
from tests.support import ASSISTANT, error_of

OWNER = bearer(KEY_A, x_user_id="u1")
CODEC = IdCodec([SECRET.encode()], "key:a/user:u1")
NAMES = {
    "thread_id": CODEC.thread("conv_" + "1" * 48),
    "run_id": CODEC.run("resp_" + "1" * 48),
    "step_id": CODEC.step("resp_" + "1" * 48, 0),
    "message_id": CODEC.message("msg_" + "1" * 48),
    "file_id": CODEC.file("file-" + "1" * 22),
    "vector_store_id": "vs_1",
    "assistant_id": ASSISTANT,
    "chat_id": "c",
    "user": "u",
}
ACCOUNT = {
    "openai_api_key": KEY,
    "openai_organization": ORGANIZATION,
    "openai_project": PROJECT,
    "lock_wait_seconds": 0,
    "debug": True,
    "rate_limit_enabled": False,
}
CALLS = [key for key in ROUTES if key[1] not in {"/metrics", "/api/v1/sessions"}]


async def call(client, method, path, **changes):
    route = ROUTES[method, path]
    sent: dict[str, Any] = {"headers": OWNER}
    if route.files:
        sent["files"] = route.files
    elif route.body is not None:
        sent["json"] = (route.body(NAMES) if callable(route.body) else route.body) | changes
    return await client.request(method, "http://localhost" + path.format(**NAMES), **sent)


def told(response):
    return (response.text + repr(response.headers.multi_items())).lower()


def logged(caplog):
    return "\n".join(repr(vars(record)) for record in caplog.records).lower()


@pytest.fixture(params=FAILURES)
def failure(request):
    return FAILURES[request.param]


async def test_failures_say_nothing_of_the_account(start, adapter, failure, caplog, capfd, monkeypatch):
    monkeypatch.setattr("app.core.upstream.retries._BACKOFF_SECONDS", (0, 0))
    status, body, headers = failure

    async def fail(_request, connection):
        await connection.answer(status, body, **{k.replace("-", "_"): v for k, v in headers.items()})

    caplog.set_level(logging.DEBUG)
    async with fake_upstream(fail) as fake:
        settings = GUARDED | ACCOUNT | {"upstream_adapter": adapter}
        async with start(url=fake.url, **settings) as service:
            for method, path in CALLS:
                changes = {"stream": True} if path.endswith(("/runs", "/submit_tool_outputs")) else {}
                for each in ({}, changes) if changes else ({},):
                    response = await call(service.client, method, path, **each)
                    assert CANARY not in told(response), (method, path)
        assert fake.count > 10
    assert CANARY not in logged(caplog)
    captured = capfd.readouterr()
    assert CANARY not in (captured.out + captured.err).lower()


def response_object(**changes):
    base = {
        "id": "resp_" + "1" * 48,
        "object": "response",
        "created_at": 1_795_000_000,
        "status": "failed",
        "model": "gpt-6-luna",
        "conversation": {"id": "conv_" + "1" * 48},
        "output": [],
        "metadata": {},
        "usage": None,
        "error": {
            "code": "rate_limit_exceeded",
            "message": f"Rate limit reached in organization {ORGANIZATION}, project {PROJECT}: {URL}, {MAIL}",
        },
        "user": MAIL,
        "safety_identifier": "canary-identifier",
        "prompt_cache_key": "canary-cache",
    }
    return base | changes


FAILED_EVENTS = {
    "response.failed": lambda: {
        "type": "response.failed",
        "sequence_number": 2,
        "response": response_object(),
    },
    "error": lambda: {
        "type": "error",
        "sequence_number": 2,
        "code": "server_error",
        "message": f"{KEY} of {ORGANIZATION}",
        "param": URL,
    },
}


@pytest.mark.parametrize("kind", FAILED_EVENTS)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("threads/{thread_id}/runs", {"assistant_id": ASSISTANT, "stream": True}),
        ("threads/{thread_id}/runs", {"assistant_id": ASSISTANT}),
        ("chat", {"message": "hello", "thread_id": NAMES["thread_id"], "stream": True}),
        ("chat", {"message": "hello", "thread_id": NAMES["thread_id"]}),
        ("chat", {"messages": [{"role": "user", "content": "hello"}]}),
        ("ag-ui", {"threadId": "t", "runId": "r", "messages": [{"id": "1", "role": "user", "content": "x"}]}),
    ],
)
async def test_runs_that_fail_say_nothing_of_the_account(start, caplog, capfd, kind, path, body):
    async def handle(request, connection):
        if request.path.endswith("/responses") and request.method == "POST":
            await connection.start_stream()
            created = response_object(status="in_progress", error=None)
            await event(connection, {"type": "response.created", "sequence_number": 0, "response": created})
            await event(connection, FAILED_EVENTS[kind]())
            await connection.end_stream()
        elif "/responses/" in request.path:
            await connection.answer(200, response_object())
        else:
            body = {"id": "conv_" + "1" * 48, "object": "conversation", "created_at": 1, "metadata": {}}
            await connection.answer(200, body)

    caplog.set_level(logging.DEBUG)
    async with (
        fake_upstream(handle) as fake,
        start(url=fake.url, is_served=True, **(GUARDED | ACCOUNT)) as service,
    ):
        client = service.client
        response = await client.post(path.format(**NAMES), json=body, headers=OWNER)
        assert CANARY not in told(response)
        run = await client.get("threads/{thread_id}/runs/{run_id}".format(**NAMES), headers=OWNER)
        assert run.status_code == 200
        assert CANARY not in told(run)
    assert CANARY not in logged(caplog)
    captured = capfd.readouterr()
    assert '"event":"request"' in captured.err
    assert CANARY not in (captured.out + captured.err).lower()


async def event(connection, data):
    await connection.chunk(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode())


EVIL = [
    'x\n{"event":"forged","level":"error"}',
    "x\r\nforged=1",
    "x\x1b[31mred",
    "x\u2028forged",
    "\x00",
]


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_value_forges_a_log_line(start, upstream, capsys, log_format):
    settings = GUARDED | {"log_format": log_format, "log_level": "info"}
    async with start(url=upstream, **settings) as service:
        capsys.readouterr()
        for evil in EVIL:
            raw = {
                "x-request-id": evil,
                "x-stainless-retry-count": evil,
                "user-agent": evil,
                "x-user-id": evil,
            }
            headers = OWNER | {name: value.encode() for name, value in raw.items()}
            quoted = "".join(f"%{byte:02x}" for byte in evil.encode())
            for path in (f"threads/{quoted}", f"{quoted}", f"threads/x/runs/{quoted}?after={quoted}"):
                response = await service.client.get(path, headers=headers)
                assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
            body = {"message": evil, "thread_id": evil, "user": evil}
            await service.client.post("chat", json=body, headers=OWNER)
        lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 * len(EVIL)
    if log_format == "json":
        assert {json.loads(line)["event"] for line in lines} == {"request"}
    assert all(line.isprintable() for line in lines)


async def test_our_own_secrets_stay_out_of_logs(start, upstream, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    async with start(url=upstream, **(GUARDED | {"debug": True})) as service:
        token = await mint(service.client, "somebody@example.com")
        for sent in (token, KEY_A, "wrong-key-0123456789", token[:-1]):
            response = await service.client.post(
                "chat", json={"message": "quiet words"}, headers=bearer(sent)
            )
            assert sent not in response.text
        error_of(await service.client.get("assistants", headers={"x-api-key": "wrong-key-0123456789"}), 401)
    captured = capfd.readouterr()
    everything = logged(caplog) + captured.out + captured.err
    for secret in (token[3:], KEY_A, "wrong-key", SECRET, "quiet words", "somebody@"):
        assert secret.lower() not in everything.lower()
