"""What clients are told when a turn fails upstream: its reason by our code, never the upstream's words."""

import json
from typing import Any

import pytest

from tests.fake_openai import CONVERSATION, answered
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import ASSISTANT, Json, error_of, frames, names

ORGANIZATION = "org-canary"
BEGUN: Json = {**answered({}), "status": "in_progress", "output": [], "usage": None}

CODES = [
    ("server_error", 502, "server_error", "server_error"),
    ("rate_limit_exceeded", 429, "rate_limit_exceeded", "upstream_rate_limited"),
    ("insufficient_quota", 429, "rate_limit_exceeded", "upstream_quota_exhausted"),
    ("invalid_prompt", 400, "invalid_prompt", "invalid_prompt"),
    ("bio_policy", 400, "invalid_prompt", "bio_policy"),
    ("content_filter", 400, "invalid_prompt", "content_filter"),
    ("context_length_exceeded", 400, "invalid_prompt", "context_length_exceeded"),
    ("invalid_image_url", 400, "invalid_prompt", "invalid_image_url"),
    ("failed_to_download_image", 400, "invalid_prompt", "failed_to_download_image"),
    ("image_content_policy_violation", 400, "invalid_prompt", "image_content_policy_violation"),
    ("vector_store_timeout", 504, "server_error", "vector_store_timeout"),
    ("overloaded_error", 502, "server_error", "upstream_overloaded"),
    ("model_not_found", 502, "server_error", "upstream_model_not_found"),
    ("brand_new_code", 502, "server_error", "brand_new_code"),
    (f"{ORGANIZATION} is bad", 502, "server_error", "server_error"),
    (None, 502, "server_error", "server_error"),
]


class Failing:
    """Streams `events`; a response that is looked up is `whole`."""

    def __init__(self, *events: Json, whole: Json | None = None) -> None:
        self.events = events
        self.whole = whole or BEGUN

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.path.endswith("/items"):
            await connection.answer(200, {"data": [], "has_more": False})
        elif request.path.startswith("/v1/conversations"):
            await connection.answer(200, CONVERSATION)
        elif request.path == "/v1/responses" and request.json.get("stream"):
            await connection.start_stream()
            for event in self.events:
                await connection.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
            await connection.end_stream()
        else:
            await connection.answer(200, self.whole)


def failed(code: object) -> Json:
    error = {"code": code, "message": f"Failed for {ORGANIZATION}"}
    return {**BEGUN, "status": "failed", "error": error}


def started(response: Json = BEGUN) -> Json:
    return {"type": "response.created", "response": response}


FOREGROUND: Json = {"on_disconnect": "cancel"}
DETACHED: Json = {"on_disconnect": "detach"}


@pytest.mark.parametrize("ways", [FOREGROUND, DETACHED], ids=["foreground", "background"])
@pytest.mark.parametrize(("code", "status", "last_error", "told"), CODES)
async def test_a_failed_response_is_told_by_its_code(start, code, status, last_error, told, ways):
    whole = failed(code)
    failing = Failing(started(), {"type": "response.failed", "response": whole}, whole=whole)
    async with fake_upstream(failing) as fake, start(url=fake.url, is_served=True) as service:
        answer = await service.client.post("chat", json={"message": "hi", **ways})
        streamed = await service.client.post("chat", json={"message": "hi", "stream": True, **ways})
        run = {"assistant_id": ASSISTANT, "stream": True}
        events = frames((await service.client.post("threads/thread_1/runs", json=run)).text)
        read = (await service.client.get("threads/thread_1/runs/run_1")).json()
    error = error_of(answer, status)
    assert error["code"] == told
    assert answer.headers["x-should-retry"] == "false"
    sent = frames(streamed.text)
    assert (names(sent), sent[-1][1]["error"]["code"]) == (["thread", "error"], told)
    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert (
        events[-2][1]["last_error"] == read["last_error"] == {"code": last_error, "message": error["message"]}
    )
    assert ORGANIZATION not in answer.text + streamed.text + json.dumps(read)


ERROR_EVENTS: list[Json] = [
    {"type": "error", "code": "insufficient_quota", "message": ORGANIZATION, "param": None},
    {"type": "error", "error": {"type": "insufficient_quota", "code": None, "message": ORGANIZATION}},
    {"error": {"code": "insufficient_quota", "message": ORGANIZATION}},
]


@pytest.mark.parametrize("event", ERROR_EVENTS, ids=json.dumps)
async def test_an_error_event_before_the_run_is_told_by_its_code(start, event):
    async with fake_upstream(Failing(event)) as fake, start(url=fake.url, is_served=True) as service:
        for body in ({"message": "hi"}, {"message": "hi", "stream": True}):
            answer = await service.client.post("chat", json={**body, **DETACHED})
            assert error_of(answer, 429)["code"] == "upstream_quota_exhausted"
            assert ORGANIZATION not in answer.text


@pytest.mark.parametrize("event", ERROR_EVENTS, ids=json.dumps)
async def test_an_error_event_ends_a_foreground_run_by_its_code(start, event):
    async with (
        fake_upstream(Failing(started(), event)) as fake,
        start(url=fake.url, is_served=True) as service,
    ):
        body = {"message": "hi", "stream": True, **FOREGROUND}
        sent = frames((await service.client.post("chat", json=body)).text)
    assert names(sent) == ["thread", "error"]
    assert sent[-1][1]["error"]["code"] == "upstream_quota_exhausted"


async def test_an_error_event_does_not_end_a_background_run_that_goes_on(start):
    failing = Failing(started(), ERROR_EVENTS[0], whole=answered({}))
    async with fake_upstream(failing) as fake, start(url=fake.url, is_served=True) as service:
        body = {"message": "hi", "stream": True, **DETACHED}
        sent = frames((await service.client.post("chat", json=body)).text)
    assert (names(sent)[-1], sent[-1][1]["message"]) == ("done", "Hello.")


@pytest.mark.parametrize(
    ("ending", "run_reason", "message_reason"),
    [
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_completion_tokens",
            "max_tokens",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            "content_filter",
        ),
        ({"status": "failed"}, None, "run_failed"),
        ({"status": "cancelled"}, None, "run_cancelled"),
    ],
)
async def test_an_incomplete_message_says_why(start, ending, run_reason, message_reason):
    message = {**answered({})["output"][0], "status": "incomplete"}
    whole = {**answered({}), "output": [message], **ending}
    kind = f"response.{ending['status']}"
    opened = {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}}
    failing = Failing(started(), opened, {"type": kind, "response": whole}, whole=whole)
    async with fake_upstream(failing) as fake, start(url=fake.url, is_served=True) as service:
        run = {"assistant_id": ASSISTANT, "stream": True}
        events = frames((await service.client.post("threads/thread_1/runs", json=run)).text)
    told: dict[str, Any] = dict(events)
    assert told["thread.message.incomplete"]["incomplete_details"] == {"reason": message_reason}
    ended = told[f"thread.run.{ending['status']}"]["incomplete_details"]
    assert ended == (run_reason and {"reason": run_reason})
