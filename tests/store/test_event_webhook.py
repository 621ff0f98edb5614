"""The operator's webhook over real sockets: what it gets, how often it is tried, and what holds nobody up."""

import asyncio

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook

from app.core.insight.event_webhook import EventWebhook
from tests.core.test_config import refused
from tests.fake_upstream import fake_upstream
from tests.security.support import GUARDED, KEY_A, bearer
from tests.store.support import chat
from tests.support import make_settings, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OWNER = bearer(KEY_A, x_user_id="u1")
CANARY = "canary-words"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr("app.core.insight.event_webhook._PAUSES_SECONDS", (0.01,) * 4)


def answering(*statuses):
    """Answer with one status after the other, then with the last of them."""
    left = list(statuses)

    async def handler(_request, connection):
        await connection.answer(left.pop(0) if len(left) > 1 else left[0], CANARY.encode())

    return handler


def webhook(url, ended, **settings):
    found = EventWebhook.of(
        make_settings(feedback_webhook_url=url, feedback_webhook_secret=SECRET, **settings), ended
    )
    assert found is not None
    return found


async def outcomes(client):
    page = await client.get(str(client.base_url.join("/metrics")))
    samples = [sample for family in text_string_to_metric_families(page.text) for sample in family.samples]
    return {
        sample.labels["outcome"]: sample.value
        for sample in samples
        if sample.name == "soloist_webhook_events_total"
    }


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_feedback_is_told_without_its_words(begin):
    async with fake_upstream(answering(200)) as receiver:
        settings = {"feedback_webhook_url": f"{receiver.url}/hook", "feedback_webhook_secret": SECRET}
        async with begin(**GUARDED, **settings) as service:
            answer = await chat(service.client, CANARY, OWNER)
            named = {"thread_id": answer["thread_id"], "run_id": answer["run_id"]}
            body = named | {"value": "down", "comment": CANARY}
            rated = (await service.client.post("feedback", json=body, headers=OWNER)).json()
            await until(lambda: receiver.requests)
            (request,) = receiver.requests
            assert (request.method, request.path) == ("POST", "/v1/hook")
            told = Webhook(SECRET).verify(request.body, request.headers)
            assert told == {
                "type": "feedback.created",
                "timestamp": told["timestamp"],
                "data": {
                    **named,
                    "message_id": rated["message_id"],
                    "value": "down",
                    "created_at": rated["created_at"],
                    "user_hash": told["data"]["user_hash"],
                },
            }
            assert len(told["data"]["user_hash"]) == 64
            assert CANARY.encode() not in request.body

            async def is_counted():
                return await outcomes(service.client) == {"sent": 1}

            await until(is_counted)


async def test_budgets_are_told(start):
    async with fake_upstream(answering(200)) as receiver:
        settings = {"feedback_webhook_url": receiver.url, "feedback_webhook_secret": SECRET}
        async with start(budget_total_tokens_day=2_000, max_output_tokens=100, **settings) as service:

            async def is_told():
                await service.client.post("chat", json={"message": CANARY * 40})
                return len(receiver.requests) == 2

            await until(is_told)
    told = [Webhook(SECRET).verify(request.body, request.headers) for request in receiver.requests]
    assert {each["type"] for each in told} == {"budget.reached"}
    assert sorted(each["data"]["percent"] for each in told) == [80, 100]
    for each in told:
        names = {"kind", "account", "percent", "tokens", "cost", "day", "resets_at"}
        assert set(each["data"]) == names
        assert CANARY not in str(each)


async def test_it_is_tried_again_under_the_same_id():
    ended: list[str] = []
    async with fake_upstream(answering(500, 302, 429, 200)) as receiver:
        events = webhook(receiver.url, ended.append)
        events.send("budget.reached", {"limit": 1})
        await until(lambda: ended)
        await events.aclose()
    assert ended == ["sent"]
    assert len(receiver.requests) == 4
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    for request in receiver.requests:
        assert Webhook(SECRET).verify(request.body, request.headers)["type"] == "budget.reached"


async def test_five_tries_and_it_is_lost():
    ended: list[str] = []
    async with fake_upstream(answering(503)) as receiver:
        events = webhook(receiver.url, ended.append)
        events.send("budget.reached", {})
        await until(lambda: ended)
        await events.aclose()
    assert ended == ["lost"]
    assert len(receiver.requests) == 5


async def test_a_receiver_that_is_away_is_lost_too():
    ended: list[str] = []
    events = webhook("http://127.0.0.1:9/hook", ended.append)
    events.send("budget.reached", {})
    await until(lambda: ended)
    await events.aclose()
    assert ended == ["lost"]


async def test_shutdown_gives_up():
    ended: list[str] = []
    reached = asyncio.Event()

    async def hang(_request, connection):
        reached.set()
        await connection.until_gone()

    async with fake_upstream(hang) as receiver:
        events = webhook(receiver.url, ended.append)
        events.send("budget.reached", {})
        await reached.wait()
        await events.aclose()
    assert ended == ["lost"]


async def test_a_flood_is_bounded(monkeypatch):
    monkeypatch.setattr("app.core.insight.event_webhook._MOST_PENDING", 2)
    ended: list[str] = []
    async with fake_upstream(answering(200)) as receiver:
        events = webhook(receiver.url, ended.append)
        for _ in range(5):
            events.send("budget.reached", {})
        await until(lambda: len(ended) == 5)
        await events.aclose()
    assert sorted(ended) == ["lost"] * 3 + ["sent"] * 2


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_a_receiver_that_hangs_holds_no_request_up(begin):
    async def hang(_request, connection):
        await connection.until_gone()

    async with fake_upstream(hang) as receiver:
        settings = {"feedback_webhook_url": receiver.url, "feedback_webhook_secret": SECRET}
        async with begin(**GUARDED, **settings) as service:
            answer = await chat(service.client, "one", OWNER)
            body = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": "up"}
            found = await service.client.post("feedback", json=body, headers=OWNER)
            assert found.status_code == httpx2.codes.OK
            await until(lambda: receiver.requests)


def test_it_needs_its_secret():
    assert "FEEDBACK_WEBHOOK_SECRET" in refused(feedback_webhook_url="https://example.com/hook")
    assert EventWebhook.of(make_settings(), lambda _: None) is None
