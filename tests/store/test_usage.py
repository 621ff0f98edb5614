"""What turns used: the table, the report of a thousand turns against a hand count, and who may read it."""

import asyncio
import json
import math
import random
import time

import pytest
from sqlalchemy import create_engine, make_url

from app.core.insight.usage_log import DAY_SECONDS
from app.core.store.tables import USAGE
from app.server.commands import report as command
from tests.security.support import GUARDED, KEY_A, bearer, mint
from tests.store.support import change, chat, rows_of
from tests.support import WEATHER, Json, error_of, finished_run, make_settings, run_to, until

KEY = bearer(KEY_A)
OWNER = bearer(KEY_A, x_user_id="u1")
PRICES = {"soloist-scripted": {"input_per_million": 1_000_000, "output_per_million": 2_000_000}}
COLUMNS = (
    "response_id, run_id, conversation_id, user_hash, model, began_at, day, first_text_ms, total_ms, "
    "input_tokens, cached_tokens, output_tokens, cost, status, code"
)
SUMS = ("input_tokens", "cached_tokens", "output_tokens")
FAILED = {"failed", "expired", "incomplete"}


@pytest.fixture
def begin(begin, tmp_path):
    """Start the service with a store, API keys and prices; the rest are settings."""
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps(PRICES))

    def begun(**settings):
        return begin(**(GUARDED | {"prices_file": prices, "assistant_tools": [WEATHER]} | settings))

    return begun


def upstream_id(signed):
    """Return an id without its signature, as the upstream has it."""
    kind, _, rest = signed.rpartition("_")[0].partition("_")
    return {"run": "resp_", "thread": "conv_"}[kind] + rest


async def report(client, days=1):
    response = await client.get("usage", params={"days": days}, headers=KEY)
    assert response.status_code == 200, response.text
    return response.json()


async def test_turns_of_all_kinds_are_one_row_each(begin, store_url):
    async with begin() as service:
        client = service.client
        client.headers.update(OWNER)
        whole = await chat(client, "one two three")
        streamed = await client.post("chat", json={"message": "four", "stream": True})
        assert streamed.status_code == 200
        run = await finished_run(client, "five")
        failed = await client.post("chat", json={"message": "fail:server_error"})
        assert failed.status_code == 502
        found = await report(client)
        assert (found["turns"], found["users"], found["failed"]) == (4, 1, 1)
        assert found["failures"] == [{"code": "server_error", "turns": 1}]
        assert found["first_text_ms"]["p50"] is not None
        found_rows = rows_of(store_url, f"SELECT {COLUMNS} FROM usage")  # noqa: S608 - constants
    rows = [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in found_rows]
    assert len(rows) == 4
    assert {row["run_id"] for row in rows} == {row["response_id"] for row in rows}
    assert len({row["user_hash"] for row in rows}) == 1
    assert sorted(row["status"] for row in rows) == ["completed", "completed", "completed", "failed"]
    assert any(row["first_text_ms"] is not None for row in rows)
    by_id = {row["response_id"]: row for row in rows}
    row, polled = by_id[upstream_id(whole["run_id"])], by_id[upstream_id(run["id"])]
    assert row["first_text_ms"] is None
    used, written = row["input_tokens"], row["output_tokens"]
    assert (used, written) == (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"])
    assert row["cost"] == pytest.approx(used + 2 * written)
    assert polled["conversation_id"] == upstream_id(run["thread_id"])


async def test_rounds_of_a_run_are_one_turn(begin, store_url):
    async with begin() as service:
        client = service.client
        client.headers.update(OWNER)
        run = await finished_run(client, "tool:get_weather", "requires_action")
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
        path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        await run_to(client, (await client.post(path, json={"tool_outputs": outputs})).json(), "completed")
        found = await report(client)
    assert (found["turns"], found["failed"]) == (1, 0)
    assert [row[0] for row in rows_of(store_url, "SELECT count(*) FROM usage")] == [2]
    assert len(rows_of(store_url, "SELECT DISTINCT run_id FROM usage")) == 1
    sums = rows_of(store_url, "SELECT sum(input_tokens), sum(output_tokens) FROM usage")
    assert (found["input_tokens"], found["output_tokens"]) == tuple(map(int, sums[0]))


async def test_turns_that_were_cut_off_are_told(begin, store_url):
    async with begin() as service:
        client = service.client
        body = {"stream": True, "on_disconnect": "cancel"}
        async with client.stream("POST", "chat", json=body | {"message": "slow:60"}, headers=OWNER) as answer:
            await anext(aiter(answer.aiter_text()))

        async def is_told():
            return bool((await report(client))["turns"])

        await until(is_told)
        assert rows_of(store_url, "SELECT status FROM usage") == [("cancelled",)]
        assert (await report(client))["failed"] == 0
        # A thread that is not there is no turn.
        error_of(await client.post("chat", json={"message": "x", "thread_id": "t"}, headers=OWNER), 404)
        assert (await report(client))["turns"] == 1


def made_turns(count, today):
    """Rows of so many turns, some of several responses, over forty days."""
    dice, rows = random.Random(17), []
    for number in range(count):
        day = today - dice.randrange(40)
        began, first = day * DAY_SECONDS + dice.randrange(80_000) + dice.random(), f"resp_{number}"
        user, model = f"hash{dice.randrange(50)}", dice.choice(["m-large", "m-small"])
        for place in range(dice.choice([1, 1, 1, 2, 3])):
            status = dice.choice(["completed"] * 8 + ["failed", "cancelled", "incomplete"])
            rows.append(
                {
                    "response_id": first if not place else f"{first}_{place}",
                    "run_id": first,
                    "conversation_id": f"conv_{dice.randrange(300)}",
                    "user_hash": user if dice.random() < 0.9 else None,
                    "model": model,
                    "began_at": began + place * 10,
                    "day": day,
                    "first_text_ms": dice.randrange(50, 3_000) if dice.random() < 0.7 else None,
                    "total_ms": dice.randrange(3_000, 9_000),
                    "input_tokens": dice.randrange(5_000_000_000),
                    "cached_tokens": dice.randrange(500),
                    "output_tokens": dice.randrange(3_000),
                    "cost": dice.random() if dice.random() < 0.8 else None,
                    "status": status,
                    "code": dice.choice(["server_error", "upstream_timeout", None])
                    if status == "failed"
                    else None,
                }
            )
    return rows


def ranked(values, share):
    found = sorted(values)
    return found[math.ceil(len(found) * share) - 1] if found else None


def counted(rows):
    """The sums of some rows, counted by hand."""
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    return {
        "turns": len({row["run_id"] for row in rows}),
        "users": len({row["user_hash"] for row in rows if row["user_hash"]}),
        **{name: sum(row[name] for row in rows) for name in SUMS},
        "cost": pytest.approx(sum(costs)) if costs else None,
        "failed": len({row["run_id"] for row in rows if row["status"] in FAILED}),
    }


def sums_of(found):
    return {name: found[name] for name in ("turns", "users", *SUMS, "cost", "failed")}


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
async def test_sums_are_those_of_a_hand_count_over_a_thousand_turns(begin, store_url):
    today = int(time.time() // DAY_SECONDS)
    rows = made_turns(1_000, today)
    async with begin() as service:
        await asyncio.to_thread(insert_all, store_url, rows)
        found = await report(service.client, 30)
        written = await command.read_report(make_settings(store_url=store_url, **GUARDED), 30)
    recent = [row for row in rows if row["day"] > today - 30]
    assert 0 < len(recent) < len(rows)
    assert sums_of(found) == counted(recent)
    assert [each["model"] for each in found["models"]] == ["m-large", "m-small"]
    for each in found["models"]:
        assert sums_of(each) == counted([row for row in recent if row["model"] == each["model"]])
    assert len(found["by_day"]) == 30
    for back, each in enumerate(reversed(found["by_day"])):
        assert sums_of(each) == counted([row for row in recent if row["day"] == today - back])
    failures: dict[str, set[str]] = {}
    for row in recent:
        if row["status"] in FAILED:
            failures.setdefault(row["code"] or row["status"], set()).add(row["run_id"])
    assert {each["code"]: each["turns"] for each in found["failures"]} == {
        code: len(runs) for code, runs in failures.items()
    }
    first, whole = times_of(recent)
    for name, values in (("first_text_ms", first), ("answer_ms", whole)):
        assert found[name]["p50"] == pytest.approx(ranked(values, 0.5), abs=1)
        assert found[name]["p95"] == pytest.approx(ranked(values, 0.95), abs=1)
    assert written == found


def times_of(rows):
    """The milliseconds from each turn's start to its first text, and to its end."""
    runs: dict[str, list[Json]] = {}
    for row in rows:
        runs.setdefault(row["run_id"], []).append(row)
    first, whole = [], []
    for each in runs.values():
        began = min(row["began_at"] for row in each)
        texts = [row["began_at"] + row["first_text_ms"] / 1000 for row in each if row["first_text_ms"]]
        first += [(min(texts) - began) * 1000] if texts else []
        whole.append((max(row["began_at"] + row["total_ms"] / 1000 for row in each) - began) * 1000)
    return first, whole


def insert_all(store_url, rows):
    url = make_url(store_url)
    driver = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_engine(url.set(drivername=driver))
    with engine.begin() as connection:
        connection.execute(USAGE.insert(), rows)
    engine.dispose()


async def test_threads_with_a_thumb_down_come_last_first(begin, store_url):
    async with begin() as service:
        client = service.client
        made = []
        for number in range(3):
            answer = await chat(client, str(number), OWNER)
            made.append(answer["thread_id"])
            value = "up" if number == 1 else "down"
            body = {"thread_id": answer["thread_id"], "run_id": answer["run_id"], "value": value}
            assert (await client.post("feedback", json=body, headers=OWNER)).status_code == 200
        conversation = upstream_id(made[0])
        later = "UPDATE feedback SET created_at = created_at + 9 WHERE conversation_id = :id"
        await change(store_url, later, id=conversation)
        found = await report(client)
    assert found["feedback"] == {"up": 1, "down": 2}
    assert [each["thread_id"] for each in found["threads_down"]] == [made[0], made[2]]


async def test_only_api_keys_read_it(begin, start):
    async with begin() as service:
        client = service.client
        error_of(await client.get("usage"), 401)
        error_of(await client.get("usage", headers=bearer(await mint(client))), 403)
        assert error_of(await client.get("usage?days=401", headers=KEY), 400)["param"] == "days"
        assert error_of(await client.get("usage?days=0", headers=KEY), 400)["param"] == "days"
    async with begin(auth_mode="none", api_keys={}) as service:
        error_of(await service.client.get("usage"), 403)
    async with start(**GUARDED) as service:
        error = error_of(await service.client.get("usage", headers=KEY), 501)
        assert error["code"] == "store_not_configured"


async def test_old_rows_are_dropped(begin, store_url, monkeypatch):
    monkeypatch.setattr("app.core.services.retention._PAUSE_SECONDS", 0.05)
    async with begin() as service:
        first, second = await chat(service.client, "one", OWNER), await chat(service.client, "two", OWNER)
        assert (await report(service.client))["turns"] == 2
        old = upstream_id(first["run_id"])
        await change(store_url, "UPDATE usage SET day = day - 401 WHERE response_id = :id", id=old)
        await until(lambda: len(rows_of(store_url, "SELECT day FROM usage")) == 1)
        assert (await report(service.client))["turns"] == 1
        assert second["run_id"]


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_what_is_noted_last_is_written_at_shutdown(begin, store_url, monkeypatch):
    monkeypatch.setattr("app.core.insight.usage_log._PAUSE_SECONDS", 3_600)
    async with begin() as service:
        await chat(service.client, "one", OWNER)
        assert rows_of(store_url, "SELECT count(*) FROM usage") == [(0,)]
    assert rows_of(store_url, "SELECT count(*) FROM usage") == [(1,)]


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_the_command_prints_tables(begin, store_url, tmp_path):
    async with begin() as service:
        await chat(service.client, "one", OWNER)
        found = await report(service.client)
    settings = make_settings(store_url=store_url, **GUARDED)
    again = await command.read_report(settings, 1)
    assert again is not None
    text = command.as_text(again)
    assert text.startswith("days (UTC)")
    assert "soloist-scripted" in text
    assert again["turns"] >= found["turns"]
    assert await command.read_report(make_settings(store_url=f"sqlite:///{tmp_path}/no.db"), 1) is None
