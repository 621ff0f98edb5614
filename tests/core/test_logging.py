"""Logs: one access line a request that can be searched by id, on the console and in a file, no content."""

import json
import logging
import re

import pytest
import structlog

from app.core.logging import REQUEST_ID, configure_logging
from tests.support import error_of, frames, in_process, make_settings, new_thread, served

CANARY = "canary-sentence"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "logs" / "app.log"


@pytest.fixture
def settings(upstream, log_file):
    return make_settings(
        openai_base_url=upstream, openai_api_key="key", log_file=log_file, log_level="info", log_format="json"
    )


def access(log_file, route):
    return next(line for line in lines(log_file) if line.get("route") == route)


async def test_a_request_is_one_line_with_what_it_was_about(settings, log_file):
    async with in_process(settings) as service:
        answer = await service.client.post(
            "chat", json={"message": "hi"}, headers={"x-request-id": "req-1", "x-stainless-retry-count": "2"}
        )
    line = access(log_file, "/api/v1/chat")
    assert (line["event"], line["method"], line["status"], line["request_id"]) == (
        "request",
        "POST",
        200,
        "req-1",
    )
    assert line["ms"] >= 0
    assert line["retry_count"] == "2"
    assert (line["thread_id"], line["run_id"]) == (answer.json()["thread_id"], answer.json()["run_id"])
    assert line["upstream_request_id"].startswith("req_")
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


async def test_a_failure_names_its_code_and_the_upstreams(settings, log_file):
    async with in_process(settings) as service:
        await service.client.get("threads/thread_0/runs")
        await service.client.post("chat", json={"message": 7})
    assert access(log_file, "/api/v1/threads/{thread_id}/runs")["error"] == "thread_not_found"
    assert access(log_file, "/api/v1/threads/{thread_id}/runs")["status"] == 404
    assert access(log_file, "/api/v1/chat")["error"] == "invalid_value"


async def test_a_stream_is_one_line_too(settings, log_file):
    async with served(settings) as service:
        response = await service.client.post("chat", json={"message": "hi", "stream": True})
    thread = frames(response.text)[0][1]
    line = access(log_file, "/api/v1/chat")
    assert (line["status"], line["thread_id"], line["run_id"]) == (200, thread["thread_id"], thread["run_id"])


async def test_no_content_is_logged_even_in_debug(upstream, log_file, capfd):
    settings = make_settings(
        openai_base_url=upstream, openai_api_key="key", log_file=log_file, debug=True, upstream_adapter="sdk"
    )
    async with in_process(settings) as service:
        client = service.client
        thread_id = await new_thread(client, CANARY)
        body = {"message": CANARY, "thread_id": thread_id}
        assert CANARY in (await client.post("chat", json=body)).text
        await client.post("chat", json={"message": f"fail-late:{CANARY}"})
        await client.post("chat", json={"message": CANARY, "stream": CANARY})
        await client.post(f"threads/{thread_id}", json={"metadata": {"a": CANARY}})
        await client.get(f"threads/{thread_id}/messages", params={"after": CANARY})
    assert len(lines(log_file)) > 5
    assert CANARY not in log_file.read_text()
    assert CANARY not in "".join(capfd.readouterr())


async def test_a_failure_of_our_own_is_logged_by_its_name_and_answered_in_the_envelope(settings, log_file):
    async with in_process(settings) as service:

        async def broken():
            raise LookupError(CANARY)

        service.app.add_api_route("/api/v1/broken", broken)
        response = await service.client.get("broken")
    assert error_of(response, 500)["code"] == "internal_error"
    line = next(line for line in lines(log_file) if line["event"] == "unhandled_error")
    assert line["error"] == "LookupError"
    assert CANARY not in response.text + log_file.read_text()


def told(text):
    return [json.loads(line) for line in text.splitlines()]


async def test_standard_error_and_the_file_tell_the_same(settings, log_file, capfd):
    async with in_process(settings) as service:
        await service.client.get("health", headers={"x-request-id": "req-1"})
    both = lines(log_file)
    assert both == told(capfd.readouterr().err)
    async with in_process(settings.model_copy(update={"log_file": None})) as service:
        await service.client.get("health", headers={"x-request-id": "req-1"})
    alone = told(capfd.readouterr().err)
    assert [line["event"] for line in alone] == [line["event"] for line in both]
    for line in (alone[-1], both[-1]):
        assert line.pop("timestamp").endswith("Z")
        assert line.pop("ms") >= 0
    assert alone[-1] == both[-1]


@pytest.mark.parametrize("has_file", [False, True])
async def test_a_terminal_gets_a_row_a_request_and_the_file_json(
    settings, log_file, capfd, monkeypatch, has_file
):
    monkeypatch.setenv("COLUMNS", "70")
    shown = {"log_format": "console", "log_file": log_file if has_file else None, "auth_mode": "none"}
    async with in_process(settings.model_copy(update=shown)) as service:
        await service.client.get("health")
        await service.client.get("threads/thread_0/runs", headers={"x-request-id": "req-1" * 9})
        service.client.base_url = service.client.base_url.copy_with(path="/")
        await service.client.get("favicon.ico")
    rows = [re.sub(r"\d+ ms", "1 ms", line) for line in capfd.readouterr().err.splitlines()]
    assert rows[-2:] == [
        "200 GET /api/v1/health 1 ms",
        "404 GET /api/v1/threads/{thread_id}/runs 1 ms thread_not_found req-1r…",
    ]
    assert not any("started" in row for row in rows)
    if has_file:
        assert [line["event"] for line in lines(log_file)][-4:] == ["started", *["request"] * 3]


@pytest.fixture
def configured(request):
    """Configure the logs with these settings, in the place of a request."""
    reset = REQUEST_ID.set("req-1")
    yield lambda **changes: configure_logging(make_settings(log_level="info", **changes))
    REQUEST_ID.reset(reset)
    configure_logging(make_settings())
    structlog.reset_defaults()


@pytest.mark.parametrize("has_file", [False, True])
def test_a_librarys_line_has_the_same_form(configured, log_file, capsys, has_file):
    configured(log_file=log_file if has_file else None)
    library = logging.getLogger("library")
    library.info("not worth a line")
    library.error("%d things\nfailed", 2, exc_info=LookupError(CANARY))
    (line,) = told(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "2 things\nfailed",
        "level": "error",
        "logger": "library",
        "error": "LookupError",
        "request_id": "req-1",
    }
    if has_file:
        assert [found["event"] for found in lines(log_file)] == ["2 things\nfailed"]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value", ["half a pair: \ud800", 2**70, object(), "\u2028", "\x9b31m", "\x7f", "\ud800\x7f", "\U000e0001"]
)
def test_no_value_breaks_a_line_or_what_it_tells_of(configured, capsys, log_format, value):
    configured(log_format=log_format)
    structlog.get_logger("soloist").info("odd", value=value)
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.removesuffix("\n").isprintable()
    if log_format == "json":
        assert told(text)[0]["event"] == "odd"


async def test_the_file_rotates(upstream, log_file):
    settings = make_settings(
        openai_base_url=upstream, log_file=log_file, log_file_max_bytes=10_000, log_level="info"
    )
    async with in_process(settings) as service:
        for _ in range(60):
            await service.client.get("health")
    files = sorted(path.name for path in log_file.parent.iterdir())
    assert files[:2] == ["app.log", "app.log.1"]
    assert all(path.stat().st_size <= 10_000 for path in log_file.parent.iterdir())
