"""Budgets as clients and operators meet them: what is refused, what is counted, and what replicas share."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.core.budgets.service import BudgetReached
from app.server.commands.check import check_service
from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.security.redis_server import redis_server
from tests.support import (
    ASSISTANT,
    embedded_upstream,
    make_settings,
    new_run,
    new_thread,
    run_to,
    until,
)

KEYS = {"auth_mode": "api_key", "api_keys": {"web": ["k" * 20]}, "secret_keys": ["s" * 32]}
PRICES = {"gpt-6-luna": {"input_per_million": 1, "output_per_million": 4, "cached_input_per_million": 0.5}}


def as_user(name):
    return {"authorization": f"Bearer {'k' * 20}", "x-user-id": name}


async def chat(client, text="hi", **extra):
    headers = extra.pop("headers", None)
    return await client.post("chat", json={"message": text, **extra}, headers=headers)


@asynccontextmanager
async def billing(start, usage=(3, 2), details=None, **settings):
    """The service before an upstream that bills this usage; yields the service and the upstream."""
    fake = FakeOpenAI()
    fake.usage = {
        "input_tokens": usage[0],
        "output_tokens": usage[1],
        "total_tokens": sum(usage),
        "input_tokens_details": details or {},
    }
    async with fake_upstream(fake.handle) as upstream, start(url=upstream.url, **settings) as service:
        yield service, fake


class TestRefusals:
    async def test_say_when_the_budget_is_renewed(self, start):
        async with start(budget_user_tokens_day=10) as service:
            answer = await chat(service.client, "hello " * 20)
            assert answer.status_code == 429
            error = answer.json()["error"]
            assert (error["code"], error["type"], error["param"]) == (
                "budget_exceeded",
                "rate_limit_error",
                None,
            )
            assert error["resets_at"] % 86_400 == 0
            assert 0 < int(answer.headers["retry-after"]) <= 86_400
            assert answer.headers["x-should-retry"] == "false"

    async def test_come_before_anything_is_sent(self, start):
        async with billing(start, budget_total_tokens_day=10) as (service, fake):
            for body in ({"message": "hi"}, {"message": "hi", "stream": True}):
                assert (await service.client.post("chat", json=body)).status_code == 429
            assert fake.sent == []

    async def test_hold_for_runs_streams_and_other_protocols(self, start):
        async with start(budget_total_tokens_day=10, is_served=True) as service:
            thread = await new_thread(service.client, "hi")
            said = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]
            agui = {
                "threadId": "t",
                "runId": "r",
                "messages": [{"id": "m", "role": "user", "content": "hi"}],
                "state": {},
                "tools": [],
                "context": [],
                "forwardedProps": {},
            }
            posts = [
                ("chat", {"messages": said}),
                ("ag-ui", agui),
                (f"threads/{thread}/runs", {"assistant_id": ASSISTANT}),
                (f"threads/{thread}/runs", {"assistant_id": ASSISTANT, "stream": True}),
                (
                    "threads/runs",
                    {"assistant_id": ASSISTANT, "thread": {"messages": [{"role": "user", "content": "x"}]}},
                ),
            ]
            for path, body in posts:
                answer = await service.client.post(path, json=body)
                assert answer.status_code == 429, path
                assert answer.json()["error"]["code"] == "budget_exceeded"


class TestCounting:
    async def test_is_by_what_the_upstream_bills(self, start):
        async with billing(start, (400, 100), budget_user_tokens_day=2_100, max_output_tokens=100) as (
            service,
            _,
        ):
            statuses = [(await chat(service.client)).status_code for _ in range(6)]
            assert statuses == [200, 200, 200, 200, 429, 429]

    async def test_users_have_budgets_of_their_own(self, start):
        settings = {"budget_user_tokens_day": 700, "max_output_tokens": 100, **KEYS}
        async with billing(start, (400, 100), **settings) as (service, _):
            found = [
                (await chat(service.client, headers=as_user(name))).status_code
                for name in ("ann", "ann", "ben", "ben")
            ]
            assert found == [200, 429, 200, 429]

    async def test_money_has_cached_tokens_at_their_price(self, start, tmp_path):
        prices = tmp_path / "prices.json"
        prices.write_text(json.dumps(PRICES))
        # 100 at 1, 300 at 0.5 and 100 at 4 a million: 0.00065 each time.
        settings = {"budget_total_cost_day": 0.002, "prices_file": prices, "max_output_tokens": 20}
        async with billing(start, (400, 100), {"cached_tokens": 300}, **settings) as (service, _):
            statuses = [(await chat(service.client)).status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]

    async def test_from_80_percent_on_callers_are_told(self, start):
        async with billing(start, (400, 100), budget_user_tokens_day=2_500, max_output_tokens=100) as (
            service,
            _,
        ):
            told = [(await chat(service.client)).headers.get("x-budget-used") for _ in range(5)]
            assert told[:4] == [None] * 4
            assert told[4].startswith(("user;percent=8", "user;percent=9"))

    async def test_streams_tell_it_too(self, start):
        async with start(budget_user_tokens_day=1_300, max_output_tokens=1_000) as service:
            answer = await chat(service.client, stream=True)
            assert answer.headers["x-budget-used"].startswith("user;percent=")

    async def test_a_refused_turn_costs_nothing(self, start):
        async with billing(start, (400, 100), budget_total_tokens_day=700, max_output_tokens=100) as (
            service,
            fake,
        ):
            fake.refusals = [(400, {"error": {"message": "no", "param": "tools"}}, {})] * 3
            assert [(await chat(service.client)).status_code for _ in range(4)] == [400, 400, 400, 200]

    async def test_a_run_that_nobody_polls_is_counted(self, start):
        async with start(budget_total_tokens_day=400, max_output_tokens=100) as service:
            client = service.client
            run = await new_run(client, await new_thread(client, "hello"))
            await run_to(client, run, "completed")

            async def is_counted():
                answer = await chat(client, "hello " * 12)
                return answer.status_code == 200

            await until(is_counted)

    async def test_operators_are_told_once(self, start):
        async with billing(start, (400, 100), budget_total_tokens_day=1_300, max_output_tokens=100) as (
            service,
            _,
        ):
            reached: list[BudgetReached] = []
            service.app.state.budgets.on_reached = reached.append
            for _ in range(5):
                await chat(service.client)
            assert [(each.kind, each.percent) for each in reached] == [("total", 80), ("total", 100)]
            assert reached[0].resets_at % 86_400 == 0


class TestSessions:
    async def test_may_have_a_smaller_budget(self, start):
        async with billing(start, (400, 100), max_output_tokens=100, **KEYS) as (service, _):
            body = {"user": "ann", "budget_tokens": 700}
            key = {"authorization": f"Bearer {'k' * 20}"}
            token = (await service.client.post("sessions", json=body, headers=key)).json()["client_secret"]
            headers = {"authorization": f"Bearer {token}"}
            found = [(await chat(service.client, headers=headers)).status_code for _ in range(2)]
            assert found == [200, 429]
            assert (await chat(service.client, headers=as_user("ann"))).status_code == 200


@asynccontextmanager
async def three_replicas(start, **settings):
    async with embedded_upstream() as url, AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(start(url=url, rate_limit_enabled=False, **settings))
            for _ in range(3)
        ]


async def billed_by_200(replicas):
    """The tokens billed for 200 parallel turns, and how many were refused."""

    async def turn(number):
        answer = await chat(replicas[number % 3].client, "say ten words")
        assert answer.status_code in {200, 429}, answer.text
        return answer.json()["usage"]["total_tokens"] if answer.status_code == 200 else None

    bills = await asyncio.gather(*map(turn, range(200)))
    return sum(bill or 0 for bill in bills), bills.count(None)


class TestReplicas:
    @pytest.mark.needs_redis
    async def test_share_a_budget_in_redis(self, start, redis):
        settings = {"rate_limit_storage": redis.url, "max_output_tokens": 20}
        async with three_replicas(start, budget_total_tokens_day=2_000, **settings) as replicas:
            billed, refused = await billed_by_200(replicas)
            assert 0 < billed <= 2_000
            assert refused

    @pytest.mark.needs_postgres
    async def test_share_a_budget_in_the_store(self, start, postgres_url):
        settings = {"store_url": postgres_url, "max_output_tokens": 20}
        async with three_replicas(start, budget_total_tokens_day=2_000, **settings) as replicas:
            billed, refused = await billed_by_200(replicas)
            assert 0 < billed <= 2_000
            assert refused

    @pytest.mark.needs_redis
    async def test_spend_a_third_each_while_redis_is_away(self, start, redis):
        settings = {"rate_limit_storage": redis.url, "max_output_tokens": 20}
        async with three_replicas(start, budget_total_tokens_day=2_000, **settings) as replicas:
            for replica in replicas:
                await chat(replica.client, "say ten words")

            async def all_are_seen():
                ledgers = [replica.app.state.budgets.ledger for replica in replicas]
                return all(ledger.replicas == 3 for ledger in ledgers)

            await until(all_are_seen)
            await redis.kill()
            billed, refused = await billed_by_200(replicas)
            assert 0 < billed <= 2_000
            assert refused
            await redis.start()

            async def is_written_down():
                answer = await chat(replicas[0].client, "say ten words " * 60)
                return answer.status_code == 429

            await until(is_written_down)

    @pytest.mark.needs_redis
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--maxmemory-policy", "noeviction"), "append-only"),
            (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), "allkeys-lru"),
        ],
    )
    async def test_do_not_start_over_a_redis_that_forgets(self, start, tmp_path, options, told):
        async with redis_server(tmp_path, *options) as server:
            async with start(rate_limit_storage=server.url):
                pass
            with pytest.raises(ValueError, match=told):
                async with start(rate_limit_storage=server.url, budget_total_tokens_day=1):
                    pytest.fail("it starts")


@pytest.mark.parametrize("setting", ["budget_user_cost_day", "budget_total_cost_day"])
def test_money_needs_prices(setting):
    with pytest.raises(ValueError, match="PRICES_FILE"):
        make_settings(**{setting: 1})


def test_a_time_zone_is_one():
    with pytest.raises(ValueError, match="no time zone"):
        make_settings(budget_timezone="Mars/Base")


class TestEndsThatNobodyTells:
    async def test_a_stream_that_is_cut_counts_as_estimated(self, start):
        settings = {"budget_total_tokens_day": 1_500, "max_output_tokens": 1_000, "is_served": True}
        async with start(knobs={"token_ms": 20}, **settings) as service:
            body = {"message": "slow:400", "stream": True}
            async with service.client.stream("POST", "chat", json=body) as response:
                async for _ in response.aiter_bytes():
                    break
            ledger = service.app.state.budgets.ledger

            async def is_settled():
                return not ledger.open_turns

            await until(is_settled)
            answer = await chat(service.client)
            assert answer.status_code == 429
            assert answer.headers["x-should-retry"] == "false"

    async def test_an_upstream_that_breaks_off_counts_as_estimated(self, start):
        async with start(
            knobs={"fault": "reset"}, budget_total_tokens_day=1_500, max_output_tokens=1_000
        ) as service:
            assert (await chat(service.client)).status_code >= 500
            ledger = service.app.state.budgets.ledger

            async def is_settled():
                return not ledger.open_turns

            await until(is_settled)
            assert (await chat(service.client)).status_code == 429


class TestRounds:
    async def test_every_round_counts(self, start, tmp_path):
        tools = tmp_path / "tools.py"
        tools.write_text(
            "from app.tools import tool\n\n\n@tool\n"
            'def clock(zone: str = "UTC") -> str:\n    """Tells the time."""\n    return "noon"\n'
        )
        settings = {
            "budget_total_tokens_day": 100_000,
            "max_output_tokens": 100,
            "assistant_tools": ["clock"],
        }
        async with start(tools_module=str(tools), **settings) as service:
            answer = await chat(service.client, "use tools")
            assert answer.status_code == 200
            ledger = service.app.state.budgets.ledger
            assert not ledger.open_turns
            # The usage of a turn is that of all its rounds.
            whole = answer.json()["usage"]["total_tokens"]
            assert ledger.spent(service.app.state.budgets.rules.today(), "total").tokens == whole


@pytest.mark.needs_redis
async def test_the_check_names_a_redis_that_forgets(tmp_path):
    async with redis_server(tmp_path) as server, embedded_upstream() as url:
        settings = {"rate_limit_storage": server.url, "openai_base_url": url, "openai_api_key": "k"}
        found = await check_service(make_settings(budget_total_tokens_day=1, **settings))
        errors = [each.text for each in found if each.level == "error"]
        assert len(errors) == 1
        assert errors[0].startswith("RATE_LIMIT_STORAGE: Redis has no append-only file")
        found = await check_service(make_settings(**settings))
        assert not [each for each in found if each.level == "error"]
