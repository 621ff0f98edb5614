"""What a request can do without: sent the same every time, and left out for good once it was refused."""

import json
from contextlib import asynccontextmanager

import pytest

from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.support import ASSISTANT, error_of, new_thread

KEYS = {"auth_mode": "api_key", "api_keys": {"web": ["k" * 20]}, "secret_keys": ["s" * 32]}
COMPACT = [{"type": "compaction", "compact_threshold": 100_000}]


def as_user(name):
    return {"authorization": f"Bearer {'k' * 20}", "x-user-id": name}


def refusal(param, text=""):
    return (400, {"error": {"message": text or f"Unsupported parameter: '{param}'.", "param": param}}, {})


@asynccontextmanager
async def before(start, **settings):
    fake = FakeOpenAI()
    async with fake_upstream(fake.handle) as upstream, start(url=upstream.url, **settings) as service:
        yield service, fake


async def chat(service, **headers):
    response = await service.client.post("chat", json={"message": "hi"}, headers=headers)
    assert response.status_code == 200, response.text


class TestCaching:
    async def test_each_user_has_a_key_of_their_own(self, start):
        async with before(start, **KEYS) as (service, fake):
            for name in ("ann", "ann", "ben"):
                await chat(service, **as_user(name))
        ann, again, ben = [body["prompt_cache_key"] for body in fake.sent]
        assert ann == again != ben
        assert len(ann) == 32
        assert "ann" not in ann
        assert ann not in [body["safety_identifier"] for body in fake.sent]

    async def test_the_prefix_is_the_same_over_turns_and_replicas(self, start, tmp_path):
        tools = tmp_path / "tools.py"
        tools.write_text(
            "from app.tools import tool\n\n\n"
            + "\n\n".join(
                f'@tool\ndef {name}(place: str, day: int = 1) -> str:\n    """Tells {name}."""\n    return ""'
                for name in ("zebra", "apple", "mango")
            )
        )
        prefixes = set()
        for _ in range(2):
            async with before(start, tools_module=str(tools), **KEYS) as (service, fake):
                for _ in range(3):
                    await chat(service, **as_user("ann"))
            prefixes |= {
                json.dumps([[key, body[key]] for key in body if key in {"instructions", "tools"}])
                for body in fake.sent
            }
        assert len(prefixes) == 1


class TestRefusals:
    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_a_refused_field_is_left_out_for_good(self, start, is_stream):
        async with before(start, assistant_temperature=0.5, **KEYS) as (service, fake):
            fake.refusals = [refusal("prompt_cache_key"), refusal("temperature")]
            for _ in range(2):
                body = {"message": "hi", "stream": is_stream}
                answer = await service.client.post("chat", json=body, headers=as_user("ann"))
                assert answer.status_code == 200
            sent = [{"temperature", "prompt_cache_key"} & body.keys() for body in fake.sent]
            assert sent == [{"temperature", "prompt_cache_key"}, {"temperature"}, set(), set()]

    async def test_without_compaction_the_upstream_truncates(self, start):
        async with before(start) as (service, fake):
            fake.refusals = [refusal("context_management[0].type")]
            await chat(service)
            await chat(service)
        assert [body.get("context_management") for body in fake.sent] == [COMPACT, None, None]
        assert [body.get("truncation") for body in fake.sent] == [None, "auto", "auto"]

    async def test_an_effort_is_left_out_and_a_summary_stays(self, start):
        settings = {"assistant_reasoning_effort": "minimal", "assistant_reasoning_summary": "auto"}
        async with before(start, **settings) as (service, fake):
            fake.refusals = [refusal("reasoning.effort")]
            await chat(service)
        assert [body["reasoning"] for body in fake.sent] == [
            {"effort": "minimal", "summary": "auto"},
            {"summary": "auto"},
        ]

    async def test_a_refusal_may_name_the_field_in_its_text_only(self, start):
        async with before(start, assistant_top_p=0.5) as (service, fake):
            fake.refusals = [refusal(None, "Unsupported parameter: top_p is not supported with this model.")]
            await chat(service)
        assert ["top_p" in body for body in fake.sent] == [True, False]

    async def test_what_a_client_asks_for_is_not_dropped(self, start):
        async with before(start, assistant_temperature=0.5) as (service, fake):
            thread_id = await new_thread(service.client, "hi")
            fake.refusals = [refusal("temperature")]
            body = {"assistant_id": ASSISTANT, "temperature": 1.5}
            answer = await service.client.post(f"threads/{thread_id}/runs", json=body)
            assert error_of(answer, 400)["param"] == "temperature"
            assert len(fake.sent) == 1

    async def test_it_is_logged_once_by_model(self, start, capsys):
        async with before(start, assistant_temperature=0.5, log_level="warning") as (service, fake):
            fake.refusals = [refusal("temperature")]
            for _ in range(3):
                await chat(service)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        told = [line for line in lines if line["event"] == "upstream_refuses"]
        assert [(line["model"], line["what"]) for line in told] == [("gpt-6-luna", ["temperature"])]


class TestContext:
    @pytest.mark.parametrize(
        ("settings", "sent"),
        [
            ({}, {"context_management": COMPACT}),
            (
                {"assistant_compact_tokens": 5_000},
                {"context_management": [{"type": "compaction", "compact_threshold": 5_000}]},
            ),
            (
                {"assistant_context_tokens": 50_000},
                {"context_management": [{"type": "compaction", "compact_threshold": 40_000}]},
            ),
            ({"assistant_context": "truncate"}, {"truncation": "auto"}),
            ({"assistant_context": "fail"}, {"truncation": "disabled"}),
            ({"assistant_truncation": "auto"}, {"truncation": "auto"}),
            ({"assistant_truncation": "disabled"}, {"truncation": "disabled"}),
            (
                {"assistant_truncation": "disabled", "assistant_context": "compact"},
                {"context_management": COMPACT},
            ),
        ],
    )
    async def test_is_what_the_setting_says(self, start, settings, sent):
        async with before(start, **settings) as (service, fake):
            await chat(service)
        body = fake.sent[0]
        assert {key: body[key] for key in ("context_management", "truncation") if key in body} == sent
