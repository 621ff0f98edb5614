"""MODERATION: what the upstream flags is counted or blocked, on every surface, and never logged."""

import re
from contextlib import asynccontextmanager

import pytest

from app.server.commands.check import check_service
from tests.fake_upstream import fake_upstream
from tests.security.moderating_openai import CANARY, ModeratingOpenAI
from tests.security.turns import MAKERS, ONLY_STORED, STREAMED, THREAD, send
from tests.support import error_of, frames, make_settings, until

ASKED = sorted(MAKERS.keys() - ONLY_STORED)


@pytest.fixture
def moderated(start):
    @asynccontextmanager
    async def begin(openai, mode, **settings):
        settings = {"upstream_background": "never", "is_served": True} | settings
        async with (
            fake_upstream(openai.handle) as upstream,
            start(url=upstream.url, moderation=mode, **settings) as found,
        ):
            yield found.client

    return begin


async def counted(client):
    text = (await client.get(client.base_url.copy_with(path="/metrics"))).text
    found = re.findall(r'soloist_content_checks_total\{outcome="(\w+)",stage="(\w+)"\} ([0-9.]+)', text)
    return {(stage, outcome): float(count) for outcome, stage, count in found}


@pytest.mark.parametrize("mode", ["flag", "block"])
async def test_every_turn_carries_the_policy(moderated, mode):
    openai = ModeratingOpenAI()
    async with moderated(openai, mode, moderation_model="omni-2") as client:
        for name in ASKED:
            assert (await send(client, name, "good")).status_code == 200
        how = {"mode": "score" if mode == "flag" else "block"}
        policy = {"model": "omni-2", "policy": {"input": how, "output": how}}
        assert [body["moderation"] for body in openai.turns] == [policy] * len(ASKED)
        assert await counted(client) == {}
    assert not openai.moderated


async def test_without_the_setting_nothing_is_asked(start):
    openai = ModeratingOpenAI()
    async with fake_upstream(openai.handle) as upstream, start(url=upstream.url) as service:
        assert (await send(service.client, "chat", CANARY)).status_code == 200
    (sent,) = openai.sent
    assert "moderation" not in sent
    assert not openai.moderated


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("refuses", [True, False])
async def test_a_blocked_input_is_a_400(moderated, name, refuses, capfd):
    async with moderated(ModeratingOpenAI(refuses=refuses), "block", log_level="debug") as client:
        error = error_of(await send(client, name, CANARY), 400)
        assert error == {
            "message": "The message is not allowed here. Change it and send it again.",
            "type": "invalid_request_error",
            "param": None,
            "code": "content_blocked",
        }
        assert await counted(client) == {("input", "blocked"): 1}
    logged = capfd.readouterr().err
    assert "content_blocked" in logged
    assert "canary" not in logged


@pytest.mark.parametrize("name", sorted(MAKERS))
async def test_the_endpoint_blocks_before_anything_is_sent_or_stored(moderated, name, capfd):
    openai = ModeratingOpenAI("endpoint")
    async with moderated(openai, "block", log_level="debug") as client:
        assert error_of(await send(client, name, CANARY), 400)["code"] == "content_blocked"
        assert await counted(client) == {("input", "blocked"): 1}
        assert (openai.turns, openai.added, openai.conversations) == ([], [], [])
        assert (await send(client, name, "good")).status_code == 200
        assert not any("moderation" in body for body in openai.turns)
    logged = capfd.readouterr().err
    assert "content_blocked" in logged
    assert "canary" not in logged


async def test_a_blocked_answer_ends_incomplete(moderated):
    async with moderated(ModeratingOpenAI(answer=CANARY), "block") as client:
        for name in ASKED:
            answer = await send(client, name, "good")
            assert answer.status_code == 200
            assert "canary" not in answer.text
            if name not in STREAMED | {"run", "thread and run"}:
                assert answer.json()["status"] == "incomplete"
        run = (await send(client, "run", "good")).json()
        assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
        name, ended = frames((await send(client, "run stream", "good")).text)[-2]
        assert name == "thread.run.incomplete"
        assert ended["incomplete_details"] == {"reason": "content_filter"}
        # The fake upstream gives all responses one id, and an id is counted once.
        assert await counted(client) == {("output", "blocked"): 1}


@pytest.mark.parametrize("name", ["chat", "run", "thread and run"])
async def test_flags_are_counted_and_named(moderated, name):
    async with moderated(ModeratingOpenAI(answer="a bad answer"), "flag") as client:
        answer = await send(client, name, CANARY)
        assert answer.status_code == 200
        assert answer.headers["x-content-flagged"] == "input, output"
        assert await counted(client) == {("input", "flagged"): 1, ("output", "flagged"): 1}


@pytest.mark.parametrize("name", sorted(MAKERS))
async def test_the_endpoint_flags_the_input(moderated, name):
    async with moderated(ModeratingOpenAI("endpoint"), "flag") as client:
        answer = await send(client, name, CANARY)
        assert answer.status_code == 200
        assert answer.headers["x-content-flagged"] == "input"
        assert await counted(client) == {("input", "flagged"): 1}
        assert "x-content-flagged" not in (await send(client, name, "good")).headers


async def test_a_parameter_that_is_ignored_is_no_moderation(moderated):
    openai = ModeratingOpenAI("ignores")
    async with moderated(openai, "block") as client:
        assert error_of(await send(client, "chat", CANARY), 400)["code"] == "content_blocked"
        assert "moderation" not in (openai.turns or [{}])[0]


@pytest.mark.parametrize("kind", ["endpoint", "ignores"])
async def test_block_refuses_to_start_without_moderation(moderated, kind):
    with pytest.raises(RuntimeError, match="the app did not start"):
        async with moderated(ModeratingOpenAI(kind, has_endpoint=False), "block"):
            pass
    openai = ModeratingOpenAI(kind, has_endpoint=False)
    async with moderated(openai, "flag") as client:
        assert (await send(client, "chat", CANARY)).status_code == 200
        assert await counted(client) == {}


async def test_an_upstream_that_is_away_at_the_start_is_asked_again(moderated, monkeypatch):
    monkeypatch.setattr("app.core.safety.moderation._PAUSE_SECONDS", 0.01)
    openai = ModeratingOpenAI()
    openai.status = 500
    async with moderated(openai, "block") as client:
        for name in sorted(MAKERS):
            assert error_of(await send(client, name, "good"), 503)["code"] == "moderation_unavailable"
        empty = await client.post(f"threads/{THREAD}/runs", json={})
        assert error_of(empty, 503)["code"] == "moderation_unavailable"
        openai.status = None

        async def is_answered():
            return (await send(client, "chat", "good")).status_code == 200

        await until(is_answered)
        assert all("moderation" in body for body in openai.turns)


async def test_flag_goes_on_while_the_upstream_does_not_tell(moderated):
    openai = ModeratingOpenAI()
    openai.status = 401
    async with moderated(openai, "flag") as client:
        openai.status = None
        assert (await send(client, "chat", "good")).status_code == 200
        assert await counted(client) == {("input", "failed"): 1}


@pytest.mark.parametrize(("mode", "status"), [("block", 503), ("flag", 200)])
async def test_an_endpoint_that_fails(moderated, mode, status):
    openai = ModeratingOpenAI("endpoint")
    async with moderated(openai, mode) as client:
        openai.has_endpoint = False
        assert (await send(client, "chat", "good")).status_code == status
        assert await counted(client) == {("input", "failed"): 1}


async def test_long_texts_are_moderated_in_pieces(moderated):
    openai = ModeratingOpenAI("endpoint")
    async with moderated(openai, "block") as client:
        text = "good " * 9_000 + CANARY
        assert error_of(await send(client, "chat", text), 400)["code"] == "content_blocked"
    assert [len(piece) for piece in openai.moderated[-1]["input"]] == [20_000, 20_000, len(text) - 40_000]


@pytest.mark.parametrize("background", ["auto", "always", "poll"])
@pytest.mark.parametrize("name", ["chat", "run", "run stream"])
async def test_background_runs_are_moderated_too(moderated, background, name):
    async with moderated(ModeratingOpenAI(), "block", upstream_background=background) as client:
        assert error_of(await send(client, name, CANARY), 400)["code"] == "content_blocked"
        assert (await send(client, name, "good")).status_code == 200


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("name", ["chat", "chat stream", "run", "thread and run"])
async def test_conversations_of_our_own_are_moderated_too(moderated, tmp_path, name, refuses):
    settings = {"conversations": "own", "store_url": f"sqlite:///{tmp_path}/s.db"}
    openai = ModeratingOpenAI(refuses=refuses)
    async with moderated(openai, "block", **settings) as client:
        thread_id = (await client.post("threads", json={})).json()["id"]
        path, body = MAKERS[name]
        path = path.replace(THREAD, thread_id)
        assert error_of(await client.post(path, json=body(CANARY)), 400)["code"] == "content_blocked"
        if thread_id in path:
            items = (await client.get(f"threads/{thread_id}/messages")).json()["data"]
            assert items == []
        assert (await client.post(path, json=body("good"))).status_code == 200
        assert all("moderation" in turn for turn in openai.turns)


@pytest.mark.parametrize(
    ("kind", "has_endpoint", "mode", "told"),
    [
        ("policy", False, "block", ("ok", "by a policy for responses")),
        ("endpoint", True, "block", ("ok", "by its endpoint")),
        ("ignores", False, "flag", ("warning", "neither")),
        ("ignores", False, "block", ("error", "neither")),
    ],
)
async def test_check_tells_how_the_upstream_moderates(kind, has_endpoint, mode, told):
    openai = ModeratingOpenAI(kind, has_endpoint=has_endpoint)
    async with fake_upstream(openai.handle) as upstream:
        settings = make_settings(openai_base_url=upstream.url, openai_api_key="key", moderation=mode)
        findings = await check_service(settings)
    (found,) = [finding for finding in findings if "moderat" in finding.text]
    assert found.level == told[0]
    assert told[1] in found.text
