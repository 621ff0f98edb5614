"""`python main.py --check --live`: one line for each turn that it makes, whatever the upstream refuses."""

import json
import re

import pytest

from app.server import live_check
from app.server.commands.check import check_service
from main import main
from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.ops.test_process import check
from tests.support import embedded_upstream, make_settings

REFUSED = {"error": {"message": "No background.", "param": "background", "code": "unsupported_parameter"}}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(live_check, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(live_check, "_SETTLE_SECONDS", 0)


async def lines_of(url, **settings):
    """The live findings, without times and counts."""
    base = {"openai_base_url": url, "openai_api_key": "sk-secret"}
    findings = await check_service(make_settings(**(base | settings)), is_live=True)
    lines = [f"{finding.level}: {finding.text}" for finding in findings]
    assert "sk-secret" not in "".join(lines)
    return [re.sub(r"\d+(\.\d+)?( s\b| tokens| out)", r"N\2", line) for line in lines if "Live" in line]


async def test_every_turn_works_before_the_embedded_upstream(tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text('{"gpt-6-luna": {"input_per_million": 1, "output_per_million": 5}}')
    async with embedded_upstream(token_ms=5) as url:
        lines = await lines_of(url, prices_file=prices)
    kept = "the conversation then holds "
    assert [line for line in lines if kept not in line] == [
        "ok: Live, a turn in one piece: works, in N s.",
        "ok: Live, the assistant's own settings: work.",
        "ok: Live, a streamed turn: works, first text after N s.",
        "ok: Live, input [] after an appended message: works.",
        "ok: Live, metadata written while a turn runs: works.",
        "ok: Live, a turn in the background, polled: works, in N s.",
        "ok: Live, a turn in the background, streamed: works, first text after N s.",
        "ok: Live, a turn in the background, its stream opened again: works, and goes on at event 1.",
        lines[-1],
    ]
    assert [line.partition(kept)[0] for line in lines if kept in line] == [
        "ok: Live, a streamed turn whose connection is closed: ",
        "ok: Live, a turn in the background, cancelled: works; ",
    ]
    assert re.fullmatch(r"ok: Live: that took N tokens in and N out, 0\.\d{4} by PRICES_FILE; .+", lines[-1])


async def test_what_is_refused_is_named_and_stops_nothing():
    fake = FakeOpenAI()

    async def handle(request, connection):
        if request.path == "/v1/responses" and request.json.get("background"):
            await connection.answer(400, REFUSED)
        elif request.path == "/v1/conversations/conv_1/items" and request.method == "POST":
            await connection.answer(500, {"error": {"message": "Broken sk-secret"}})
        else:
            await fake.handle(request, connection)

    async with fake_upstream(handle) as upstream:
        lines = await lines_of(upstream.url)
        deleted = [request for request in upstream.requests if request.method == "DELETE"]
    refused = "refused with 400, unsupported_parameter at background."
    assert lines == [
        "ok: Live, a turn in one piece: works, in N s.",
        "ok: Live, the assistant's own settings: work.",
        "ok: Live, a streamed turn: works, but sends no pieces.",
        "warning: Live, input [] after an appended message: refused with 500, upstream_failed.",
        "ok: Live, metadata written while a turn runs: works.",
        "ok: Live, a streamed turn whose connection is closed: the conversation then holds nothing.",
        f"warning: Live, a turn in the background, polled: {refused}",
        f"warning: Live, a turn in the background, streamed: {refused}",
        f"warning: Live, a turn in the background, its stream opened again: {refused}",
        f"warning: Live, a turn in the background, cancelled: {refused}",
        "ok: Live: that took N tokens in and N out; the turns that were stopped are not counted.",
    ]
    # One empty conversation of the check itself, and one of each turn.
    assert len(deleted) == 11


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "response.failed", "response": {"status": "failed", "error": {"code": "bio"}}}, "bio"),
        ({"type": "response.created", "response": {}}, "a stream that ends too early"),
        ({"kind": "response.created"}, "an answer that is none of its API"),
    ],
)
async def test_a_turn_that_fails_is_told(event, said):
    fake = FakeOpenAI()

    async def handle(request, connection):
        if request.path == "/v1/responses" and request.json.get("stream"):
            await connection.start_stream()
            await connection.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
            await connection.end_stream()
        else:
            await fake.handle(request, connection)

    async with fake_upstream(handle) as upstream:
        lines = await lines_of(upstream.url)
    assert f"warning: Live, a streamed turn: failed with {said}." in lines


@pytest.mark.parametrize("spelled", [("check", "--live"), ("--check", "--live")])
def test_it_is_an_option_of_the_check(tmp_path, spelled):
    status, lines = check(tmp_path, *spelled)
    assert status == 0
    assert sum(": Live" in line for line in lines) == 11


def test_alone_it_means_nothing(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--live"])
    assert left.value.code == 2
    assert "--live goes with --check" in capsys.readouterr().err


async def test_settings_that_the_model_refuses_are_named():
    fake = FakeOpenAI()

    async def handle(request, connection):
        refused = {"temperature", "prompt_cache_key"} & set(request.json if request.body else {})
        if request.path == "/v1/responses" and refused:
            error = {"message": "Unsupported parameter.", "param": max(refused)}
            await connection.answer(400, {"error": error})
        else:
            await fake.handle(request, connection)

    async with fake_upstream(handle) as upstream:
        lines = await lines_of(upstream.url, assistant_temperature=0.5)
    told = "gpt-6-luna refuses temperature, prompt_cache_key, which the service leaves out"
    assert f"ok: Live, the assistant's own settings: {told}." in lines
