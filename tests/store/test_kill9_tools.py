"""SIGKILL at every named point of a tool loop: the thread takes its next turn, and no call is made twice.

With `KILL9_ROUNDS` each point is tried over every way to start a run, else over two of the four.
"""

import asyncio
import json
import os
from contextlib import AsyncExitStack, suppress

import httpx2
import pytest

from tests.api.scripted_tools import THEIRS, outputs
from tests.security.redis_server import redis_server
from tests.store.killed_service import LEASE_SECONDS, KillableService, running
from tests.store.postgres_server import fresh_database
from tests.store.test_kill9 import next_turn
from tests.store.tool_faults import APPROVAL_NOTED, LOOP, OURS_STORED, WHILE_TOOLS_RUN
from tests.support import ASSISTANT, TLS, embedded_upstream, error_of, new_run, new_thread, run_to, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TOOL = """
import os
from app.tools import tool

@tool(approval="{approval}")
async def ours(x: int) -> str:
    "Ours."
    with open(os.environ["TOOL_CALLS"], "a") as file:
        file.write("called" + chr(10))
    return "ours"
"""
WAYS = ("json", "stream", "run", "polled")
POSTGRES = pytest.mark.needs_postgres
KEEPERS = [
    "upstream",
    pytest.param("upstream redis", marks=pytest.mark.needs_redis),
    "upstream sqlite",
    pytest.param("upstream postgresql", marks=POSTGRES),
    "own sqlite",
    pytest.param("own postgresql", marks=POSTGRES),
    pytest.param("own postgresql redis", marks=[POSTGRES, pytest.mark.needs_redis]),
]


@pytest.fixture(params=KEEPERS)
def kept(request):
    """Who keeps the conversations, where leases are, and a PostgreSQL server where one is named."""
    words = request.param.split()
    return words, request.getfixturevalue("postgres") if "postgresql" in words else None


@pytest.fixture
async def keeper(kept, tmp_path):
    """Settings; without a store or Redis, only the process has leases."""
    (kept_by, *others), postgres = kept
    settings = {"CONVERSATIONS": kept_by}
    async with AsyncExitStack() as stack:
        kind = {"kind": "nothing"} if kept_by == "own" else {}
        settings["OPENAI_BASE_URL"] = await stack.enter_async_context(embedded_upstream(**kind))
        if "sqlite" in others:
            settings["STORE_URL"] = f"sqlite:///{tmp_path / 'soloist.db'}"
        if "postgresql" in others:
            database = fresh_database(postgres)
            settings["STORE_URL"] = await stack.enter_async_context(database)
        if "redis" in others:
            settings["RATE_LIMIT_STORAGE"] = (await stack.enter_async_context(redis_server(tmp_path))).url
        yield settings


class Killed:
    """A service with one tool of its own, and how often that was called."""

    def __init__(self, folder, settings, *, tools=(), approval="never"):
        path, self._calls = folder / "killed_tools.py", folder / "calls"
        path.write_text(TOOL.format(approval=approval))
        self._calls.touch()
        self.service = KillableService(
            folder,
            TOOLS_MODULE=str(path),
            TOOL_CALLS=str(self._calls),
            ASSISTANT_TOOLS=json.dumps(list(tools)),
            **settings,
        )

    @property
    def calls(self):
        return len(self._calls.read_text().splitlines())

    def client(self):
        return httpx2.AsyncClient(base_url=self.service.url, timeout=30, verify=TLS)

    async def dies(self, thread_id, way, question):
        """Ask a question that kills the service, and start that anew; return the run's id, if it was told."""
        message = {"role": "user", "content": question}
        run = {"assistant_id": ASSISTANT, "additional_messages": [message]}
        path, body = {
            "json": ("chat", {"message": question, "thread_id": thread_id}),
            "stream": ("chat", {"message": question, "thread_id": thread_id, "stream": True}),
            "run": (f"threads/{thread_id}/runs", run | {"stream": True}),
            "polled": (f"threads/{thread_id}/runs", run),
        }[way]
        run_id = None
        async with self.client() as client:
            with suppress(httpx2.TransportError):
                response = await client.post(path, json=body)
                run_id = response.json().get("id")
        await self._started_again()
        return run_id

    async def _started_again(self):
        assert await asyncio.to_thread(self.service.wait) == -9
        await asyncio.to_thread(self.service.start)

    async def approval_kills(self, run):
        path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        async with self.client() as client:
            with suppress(httpx2.TransportError):
                await client.post(path, json=approval_of(run))
        await self._started_again()


def approval_of(run):
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return outputs(*((call["id"], "approve") for call in calls))


async def has_ended(client, thread_id, run_id):
    """See a run end, whose lease runs out by itself; and no live run."""

    async def ended():
        run = (await client.get(f"threads/{thread_id}/runs/{run_id}")).json()
        return run["status"] not in {"queued", "in_progress", "requires_action"}

    async with asyncio.timeout(LEASE_SECONDS + 10):
        await until(ended)


@pytest.mark.parametrize("point", LOOP)
async def test_a_thread_goes_on_after_a_death_in_the_loop(keeper, tmp_path, point):
    killed = Killed(tmp_path, keeper)
    most = 0
    with running(killed.service):
        for way in WAYS if "KILL9_ROUNDS" in os.environ else WAYS[LOOP.index(point) % 2 :: 2]:
            async with killed.client() as client:
                thread_id = await new_thread(client, "before")
            run_id = await killed.dies(thread_id, way, f"rounds:2 die at {point}: now")
            most += 2
            async with killed.client() as client:
                await next_turn(client, thread_id)
                if run_id is not None:
                    await has_ended(client, thread_id, run_id)
    assert killed.calls <= most
    assert point != WHILE_TOOLS_RUN or killed.calls == most / 2


@pytest.mark.parametrize("way", ["json", "run"])
async def test_a_thread_goes_on_after_a_death_between_the_services_calls_and_the_clients(
    keeper, tmp_path, way
):
    killed = Killed(tmp_path, keeper, tools=[THEIRS])
    with running(killed.service):
        async with killed.client() as client:
            thread_id = await new_thread(client, "before")
        await killed.dies(thread_id, way, f"calls:2 die at {OURS_STORED}: now")
        async with killed.client() as client:
            await next_turn(client, thread_id)
    assert killed.calls == 1


@pytest.mark.parametrize("point", [APPROVAL_NOTED, *LOOP[:-1]])
async def test_an_approved_call_is_not_made_again_after_a_death(keeper, tmp_path, point):
    killed = Killed(tmp_path, keeper, approval="always")
    with running(killed.service):
        async with killed.client() as client:
            thread_id = await new_thread(client, "before")
            asked = {"role": "user", "content": f"calls:1 die at {point}: now"}
            run = await new_run(client, thread_id, additional_messages=[asked])
            run = await run_to(client, run, "requires_action")
        await killed.approval_kills(run)
        calls = killed.calls
        async with killed.client() as client:
            await has_ended(client, thread_id, run["id"])
            path = f"threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
            error_of(await client.post(path, json=approval_of(run)), 400)
            await next_turn(client, thread_id)
        assert killed.calls == calls <= 1
