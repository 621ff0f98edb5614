"""Guards of the operator: every message passes them, and the first text is kept nowhere."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.core.tools.toolbox import Toolbox
from tests.fake_upstream import fake_upstream
from tests.security.moderating_openai import CANARY, ModeratingOpenAI
from tests.security.support import GUARDED, bearer, mint
from tests.security.turns import MAKERS, THREAD, send
from tests.support import embedded_upstream, error_of, make_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/tools/masking_guard.py"
SECRETS = "Write to ada.l+x@mail.example.org, card 4111 1111-1111 1111 12/27"
MASKED = "Write to [e-mail], card [card]/27"
HEAD = """
import asyncio, time
from app.tools import Caller, Refusal, guard

seen = []
"""
_STUBBORN = """try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        return text"""


@pytest.fixture
def guarded(start, tmp_path):
    """Start the service with guards, a source text or a file, before an upstream that remembers all."""

    @asynccontextmanager
    async def begin(source, openai=None, **settings):
        openai = openai or ModeratingOpenAI()
        if isinstance(source, str):
            path = tmp_path / "my_guards.py"
            path.write_text(HEAD + source)
        else:
            path = source
        settings = {"tools_module": str(path), "upstream_background": "never", "is_served": True} | settings
        async with fake_upstream(openai.handle) as upstream, start(url=upstream.url, **settings) as service:
            yield service.client, upstream

    return begin


def sent(upstream):
    return b"\n".join(request.body for request in upstream.requests).decode()


async def counted(client):
    text = (await client.get(client.base_url.copy_with(path="/metrics"))).text
    found = re.findall(r'soloist_content_checks_total\{outcome="(\w+)",stage="guard"\} ([0-9.]+)', text)
    return {outcome: float(count) for outcome, count in found}


def _logged(capfd, event):
    """What the service has logged, this event among it."""
    text = capfd.readouterr().err
    assert f'"event":"{event}"' in text
    return text


def test_the_document_shows_the_whole_example():
    assert f"\n{EXAMPLE.read_text()}```" in (ROOT / "docs/safety.md").read_text()


@pytest.mark.parametrize("name", sorted(MAKERS))
async def test_the_example_masks_on_every_way_in(guarded, name, capfd):
    async with guarded(EXAMPLE, log_level="debug") as (client, upstream):
        answer = await send(client, name, SECRETS)
        assert answer.status_code == 200
        assert MASKED in sent(upstream).replace("\\n", " ")
        assert await counted(client) == {"changed": 1}
        told = sent(upstream) + answer.text
    told += _logged(capfd, "request")
    for secret in ("ada.l", "example.org", "4111"):
        assert secret not in told


@pytest.mark.parametrize("name", sorted(MAKERS))
async def test_a_refusal_sends_and_stores_nothing(guarded, name):
    source = "@guard\nasync def never(text, caller):\n    return Refusal('Not here, please.')\n"
    async with guarded(source) as (client, upstream):
        assert error_of(await send(client, name, CANARY), 400) == {
            "message": "Not here, please.",
            "type": "invalid_request_error",
            "param": None,
            "code": "content_blocked",
        }
        assert [request for request in upstream.requests if request.method == "POST"] == []
        assert await counted(client) == {"blocked": 1}


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError(text)",
        "raise SystemExit(text)",
        "return 7",
        "return b'x'",
        "await asyncio.sleep(60)",
        "raise asyncio.CancelledError",
        _STUBBORN,
    ],
)
async def test_a_guard_that_fails_lets_nothing_pass(guarded, body, capfd):
    source = f"@guard(timeout_seconds=0.1)\nasync def broken(text, caller):\n    {body}\n"
    async with guarded(source) as (client, upstream):
        answer = await send(client, "chat", CANARY)
        assert error_of(answer, 503)["code"] == "guard_failed"
        assert answer.headers["retry-after"] == "1"
        assert [request for request in upstream.requests if request.method == "POST"] == []
        assert await counted(client) == {"failed": 1}
    assert "canary" not in _logged(capfd, "guard_failed")


async def test_a_plain_guard_that_hangs_holds_up_itself_alone(guarded):
    source = """
import threading
gate = threading.Event()

@guard(timeout_seconds=0.2)
def slow(text, caller):
    if "hang" in text:
        gate.wait(20)
"""
    async with guarded(source, tool_threads=2) as (client, _):
        hung, fine = await asyncio.gather(send(client, "chat", "hang"), send(client, "chat", "good"))
        assert error_of(hung, 503)["code"] == "guard_failed"
        assert fine.status_code == 200
        assert (await send(client, "chat", "good")).status_code == 200


async def test_many_turns_wait_for_a_thread(guarded):
    source = "@guard\ndef slow(text, caller):\n    time.sleep(0.01)\n    return text.upper()\n"
    async with guarded(source, tool_threads=2) as (client, upstream):
        answers = await asyncio.gather(*(send(client, "chat on a thread", f"q{n}") for n in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert all(f'"Q{n}"' in sent(upstream) for n in range(20))


async def test_guards_run_in_order_before_moderation(guarded):
    source = """
@guard
async def first(text, caller):
    return text + " one"

@guard
def second(text, caller):
    return None

@guard
def third(text, caller):
    return text.replace("one", "bad")
"""
    async with guarded(source, ModeratingOpenAI("endpoint"), moderation="block") as (client, upstream):
        assert error_of(await send(client, "chat", "good"), 400)["code"] == "content_blocked"
        assert '"good bad"' in sent(upstream)


async def test_a_guard_knows_for_whom_it_is_called(guarded):
    source = """
@guard
def who(text, caller):
    return f"{caller.user_id} {caller.thread_id} {caller.run_id}"
"""
    async with guarded(source, **GUARDED) as (client, upstream):
        headers = bearer(await mint(client, user="ada"))
        made = await send(client, "chat", "hello", headers=headers)
        assert '"ada None None"' in sent(upstream)
        thread_id = made.json()["thread_id"]
        await client.post("chat", json={"message": "hello", "thread_id": thread_id}, headers=headers)
        assert f'"ada {thread_id} None"' in sent(upstream)
        before = upstream.count
        foreign = await send(client, "chat on a thread", "hello", headers=headers)
        assert foreign.status_code == 404
        assert upstream.count == before


async def test_pictures_and_outputs_of_tools_pass_by(guarded):
    source = "@guard\ndef shout(text, caller):\n    seen.append(text)\n    return 'changed'\n"
    picture = {"type": "image_url", "image_url": {"url": "https://p.example/a.png"}}
    parts = [picture, {"type": "text", "text": "a"}, picture, {"type": "text", "text": "b"}]
    async with guarded(source) as (client, upstream):
        answer = await client.post(f"threads/{THREAD}/messages", json={"role": "user", "content": parts})
        shown = answer.json()["content"]
        assert [part["type"] for part in shown] == ["image_url", "text", "image_url"]
        assert shown[1]["text"]["value"] == "changed"
        alone = {"role": "user", "content": [picture]}
        assert (await client.post(f"threads/{THREAD}/messages", json=alone)).status_code == 200
    assert '"a"' not in sent(upstream)


async def test_what_is_stored_and_listed_is_the_changed_text(start, tmp_path):
    settings = {
        "tools_module": str(EXAMPLE),
        "store_url": f"sqlite:///{tmp_path}/s.db",
        "conversations": "own",
    }
    async with embedded_upstream() as url, start(url=url, **settings, **GUARDED) as service:
        headers = bearer(await mint(service.client, user="ada"))
        made = (await send(service.client, "chat", SECRETS, headers=headers)).json()
        listed = await service.client.get(f"threads/{made['thread_id']}/messages", headers=headers)
        assert listed.json()["data"][-1]["content"][0]["text"]["value"] == MASKED
        threads = await service.client.get("threads", headers=headers)
        assert threads.json()["data"][0]["title"] == MASKED
        assert "4111" not in made["message"] + listed.text + threads.text
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("s.db*"))
    assert b"4111" not in stored
    assert b"[card]" in stored


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@guard\nclass G: pass", "TypeError: @guard marks functions, not type (line 6 of my_guards.py)"),
        ("@guard(timeout_seconds=0)\ndef g(t, c): ...", "timeout_seconds is above 0 and at most 86400"),
    ],
)
def test_a_misuse_stops_the_start_in_one_line(tmp_path, source, message):
    path = tmp_path / "my_guards.py"
    path.write_text(HEAD + source)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Toolbox.load(make_settings(tools_module=str(path)))
    assert "\n" not in str(caught.value)
