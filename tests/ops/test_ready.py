"""`ready`: upstream, the model's shutdown, Redis, draining."""

import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from app.core.observability import health
from app.core.observability.health import ModelWatch, unix_time
from tests.fake_upstream import Connection, Request, fake_upstream
from tests.support import stats, until


def in_days(days):
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


async def ready(client, status=200):
    response = await client.get("ready")
    assert response.status_code == status, response.text
    return response.json()


async def test_a_model_without_an_end_is_no_warning(start):
    async with start(assistant_model="soloist-scripted") as service:
        body = await ready(service.client)
    assert body["status"] == "ready"
    assert body["upstream"]["model_known"] is True
    assert body["upstream"]["warning"] is None
    assert body["redis"] is None


async def test_a_model_that_is_going_to_be_switched_off_is_told(start):
    knobs = {"shutdown_date": in_days(10)}
    async with start(assistant_model="soloist-scripted", knobs=knobs, log_level="warning") as service:
        with capture_logs() as logs:
            body = await ready(service.client)
            await ready(service.client)
        metrics = (await service.client.get(str(service.client.base_url.join("/metrics")))).text
    assert body["status"] == "ready"
    assert body["upstream"]["shutdown_date"] == knobs["shutdown_date"]
    assert re.fullmatch(
        r"The model soloist-scripted is switched off in \d+ days: .+", body["upstream"]["warning"]
    )
    timestamp = re.search(r"^soloist_model_shutdown_timestamp_seconds (\S+)$", metrics, re.MULTILINE)
    assert timestamp
    assert float(timestamp[1]) == unix_time(knobs["shutdown_date"])
    warned = [line for line in logs if line["event"] == "model_shutdown_ahead"]
    assert [line["log_level"] for line in warned] == ["warning"]


async def test_a_far_end_is_not_warned_of(start):
    knobs = {"shutdown_date": in_days(100)}
    async with start(assistant_model="soloist-scripted", knobs=knobs) as service:
        assert (await ready(service.client))["upstream"]["warning"] is None


def test_the_warning_comes_again_after_a_day(monkeypatch):
    warned = []
    monkeypatch.setattr(health, "_log", SimpleNamespace(warning=lambda name, **_: warned.append(name)))
    watch = ModelWatch("m", warn_days=30)
    now = time.time()
    date = datetime.fromtimestamp(now + 5 * 86_400, UTC).isoformat()
    for hours in (0, 1, 23, 25, 26):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
        watch.note(date)
    assert warned == ["model_shutdown_ahead"] * 2


def test_a_model_that_is_gone_is_said_to_be_gone():
    watch = ModelWatch("m", warn_days=0)
    watch.note("2020-01-01")
    assert watch.warning == "The model m has been switched off: set ASSISTANT_MODEL to its successor."


@pytest.mark.parametrize("date", [None, "", "soon", {}, [], "2026-13-01"])
def test_a_date_that_is_none_is_no_date(date):
    assert unix_time(date) is None


@pytest.mark.parametrize(
    "date", [1_800_000_000, "2027-01-15T08:00:00Z", "2027-01-15T08:00:00", "2027-01-15T09:00:00+01:00"]
)
def test_dates_come_in_several_forms(date):
    assert unix_time(date) == 1_800_000_000


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ([{"id": "other"}, {"id": "mine", "owned_by": "llamacpp"}], {"model_known": True}),
        ([{"id": "other"}], {"model_known": False, "error": "upstream_model_not_found"}),
        ([], {"model_known": False, "error": "upstream_model_not_found"}),
        (None, {"model_known": False, "error": "upstream_route_not_found"}),
    ],
)
async def test_an_upstream_that_only_lists_its_models_is_asked_for_the_list(start, listed, found):
    async def answer(request: Request, connection: Connection) -> None:
        if request.path == "/v1/models" and listed is not None:
            await connection.answer(200, {"object": "list", "data": listed})
        else:
            await connection.answer(404, {"error": {"message": "File Not Found", "type": "not_found_error"}})

    async with fake_upstream(answer) as fake, start(url=fake.url, assistant_model="mine") as service:
        body = await ready(service.client)
    assert body["status"] == "ready"
    assert body["upstream"].items() >= {"reachable": True, **found}.items()
    assert [request.path for request in fake.requests] == ["/v1/models/mine", "/v1/models"]


async def test_an_upstream_that_is_away_makes_it_not_ready(start):
    async with start(url="http://127.0.0.1:9/v1") as service:
        body = await ready(service.client, 503)
        metrics = (await service.client.get(str(service.client.base_url.join("/metrics")))).text
    assert body["status"] == "not_ready"
    assert body["upstream"]["error"] == "upstream_unreachable"
    assert "\nsoloist_upstream_reachable 0.0\n" in metrics


async def test_the_upstream_is_asked_once_for_many_probes(start, upstream):
    async with start(url=upstream, assistant_model="soloist-scripted") as service:
        for _ in range(20):
            await ready(service.client)
    assert sum(n for what, n in (await stats(upstream))["requests"].items() if "/models" in what) == 1


async def test_draining_is_told(start):
    async with start() as service:
        service.app.state.registry.is_draining = True
        body = await ready(service.client, 503)
        assert (await service.client.get("health")).status_code == 200
    assert (body["status"], body["draining"]) == ("not_ready", True)


async def test_redis_that_is_away_is_told_and_holds_up_nothing(start):
    async with start(rate_limit_storage="redis://127.0.0.1:9/0", allow_anonymous=True) as service:
        await service.client.post("chat", json={"message": "hello"}, headers={"x-forwarded-for": "192.0.2.1"})
        await until(lambda: _redis_is_away(service.client))


async def _redis_is_away(client):
    body = await ready(client)
    return body["redis"] == {"reachable": False}
