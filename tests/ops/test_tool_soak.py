"""Runs whose tools fail and hang and whose clients leave: none is stuck, no call is made twice.

`TOOL_SOAK_RUNS=1000` for the long run.
"""

import asyncio
import builtins
import os
import random
from collections import Counter
from contextlib import suppress

import httpx2
import pytest

from app.core.tools.toolbox import Toolbox
from tests.support import ASSISTANT, PATIENCE_SECONDS, TLS, embedded_upstream, frames, is_idle, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]
RUNS = int(os.environ.get("TOOL_SOAK_RUNS", "60"))
CLIENTS = 16
LEAVING, LONGEST_STAY_SECONDS = 0.3, 0.8
TOOLS = '''
import asyncio, builtins, time
from app.tools import tool

draw, timeout = builtins._tool_soak

def fate():
    found = draw.random()
    if found < 0.1:
        raise RuntimeError("fails")
    return found < 0.2

@tool(timeout_seconds=timeout)
async def first(x: int) -> str:
    """Waits."""
    await asyncio.sleep(3600 if fate() else draw.random() * timeout / 2)
    return "first"

@tool(timeout_seconds=timeout)
def second(x: int) -> str:
    """Blocks a thread."""
    time.sleep(3 * timeout if fate() else draw.random() * timeout / 2)
    return "second"

@tool(timeout_seconds=timeout)
async def third(x: int) -> str:
    """Ignores its cancellation for a while."""
    try:
        await asyncio.sleep(3600 if fate() else 0)
    except asyncio.CancelledError:
        await asyncio.sleep(timeout)
    return "third"
'''
ENDED = {"completed", "failed", "cancelled", "expired", "incomplete"}


class Visitor:
    """Takes turns on threads of its own, in every way there is, and may leave in the middle."""

    def __init__(self, client: httpx2.AsyncClient, draw: random.Random) -> None:
        self.client = client
        self.draw = draw
        self.ends: Counter[str] = Counter()

    async def visit(self) -> None:
        """Take a turn with three calls, maybe leave, see it end, and take the next turn."""
        thread_id = (await self._sent("threads", {}))["id"]
        way = self.draw.choice([self._chat, self._chat_stream, self._run_stream, self._polled])
        run_ids: list[str] = []
        turn = asyncio.create_task(way(thread_id, run_ids))
        leaves = self.draw.random() < LEAVING
        with suppress(TimeoutError):
            async with asyncio.timeout(self.draw.random() * LONGEST_STAY_SECONDS if leaves else None):
                await turn
        self.ends["left" if turn.cancelled() else "stayed"] += 1
        for run_id in run_ids:
            self.ends[await self._end_of(f"threads/{thread_id}/runs/{run_id}")] += 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._next_turn(thread_id)

    async def _chat(self, thread_id: str, run_ids: list[str]) -> None:
        answer = await self._sent("chat", self._message(thread_id))
        run_ids.append(answer["run_id"])
        assert answer["message"].startswith("The tool answered: "), answer

    async def _chat_stream(self, thread_id: str, run_ids: list[str]) -> None:
        body = self._message(thread_id) | {"stream": True}
        events = await self._events("chat", body, run_ids)
        assert events[-1][0] == "done", events[-1]
        tools = [data["status"] for name, data in events if name == "tool"]
        assert len(tools) == 6, tools

    async def _run_stream(self, thread_id: str, run_ids: list[str]) -> None:
        events = await self._events(f"threads/{thread_id}/runs", self._run() | {"stream": True}, run_ids)
        assert [name for name, _ in events[-2:]] == ["thread.run.completed", "done"]

    async def _polled(self, thread_id: str, run_ids: list[str]) -> None:
        run = await self._sent(f"threads/{thread_id}/runs", self._run())
        run_ids.append(run["id"])

    def _message(self, thread_id: str) -> dict[str, object]:
        leaving = self.draw.choice(["cancel", "finish", "detach"])
        return {"message": self._question(), "thread_id": thread_id, "on_disconnect": leaving}

    def _run(self) -> dict[str, object]:
        message = {"role": "user", "content": self._question()}
        leaving = self.draw.choice(["cancel", "finish", "detach"])
        return {"assistant_id": ASSISTANT, "additional_messages": [message], "on_disconnect": leaving}

    def _question(self) -> str:
        return self.draw.choice(["calls:3", "calls:3", "rounds:3"])

    async def _sent(self, path: str, body: dict[str, object]) -> dict[str, str]:
        response = await self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        found: dict[str, str] = response.json()
        return found

    async def _events(self, path, body, run_ids):
        text = ""
        async with self.client.stream("POST", path, json=body) as response:
            assert response.status_code == 200
            async for piece in response.aiter_text():
                text += piece
                if not run_ids and (known := frames(text.rpartition("\n\n")[0] + "\n\n")):
                    run_ids.append(known[0][1].get("run_id") or known[0][1]["id"])
        return frames(text)

    async def _end_of(self, path: str) -> str:
        found: list[str] = []

        async def has_ended() -> bool:
            found.append((await self.client.get(path)).json()["status"])
            return found[-1] in ENDED

        async with asyncio.timeout(PATIENCE_SECONDS):
            await until(has_ended)
        return found[-1]

    async def _next_turn(self, thread_id: str) -> None:
        body = {"message": "next", "thread_id": thread_id}

        async def is_answered() -> bool:
            response = await self.client.post("chat", json=body)
            found = response.json().get("message")
            assert response.status_code == 409 or found == "You said: next", response.text
            return response.status_code == 200

        await until(is_answered)


@pytest.fixture
def executed(monkeypatch):
    """How often each call was carried out, by its id."""
    found: Counter[str] = Counter()
    execute = Toolbox.execute

    async def counting(self, call):
        found[call.call_id] += 1
        return await execute(self, call)

    monkeypatch.setattr(Toolbox, "execute", counting)
    return found


async def test_no_run_is_stuck_no_call_doubled_no_task_left(start, tmp_path, executed, monkeypatch):
    draw = random.Random(RUNS)
    monkeypatch.setattr(builtins, "_tool_soak", (draw, 0.4), raising=False)
    path = tmp_path / "soak_tools.py"
    path.write_text(TOOLS)
    settings = {"assistant_tools": [], "tools_module": str(path), "tool_threads": 64, "rate_limit_chat": None}
    async with (
        embedded_upstream() as upstream,
        start(url=upstream, is_served=True, **_without_limits(settings)) as service,
    ):
        visitor = Visitor(service.client, draw)
        before = len(asyncio.all_tasks())
        places = asyncio.Semaphore(CLIENTS)

        async def visit():
            async with places:
                await visitor.visit()

        async with asyncio.TaskGroup() as group:
            for _ in range(RUNS):
                group.create_task(visit())
        await until(lambda: is_idle(upstream))
        await until(lambda: _is_quiet(service))
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The server keeps a task for each connection that the client's pool keeps open.
            await service.client.aclose()
            await until(lambda: len(asyncio.all_tasks()) <= before)
    assert executed
    assert {call_id: count for call_id, count in executed.items() if count > 1} == {}
    print(f"{RUNS} runs, {len(executed)} calls: {dict(visitor.ends)}")  # noqa: T201 - the long run's figures


def _without_limits(settings):
    limits = dict.fromkeys(("rate_limit_chat", "rate_limit_writes", "rate_limit_reads"), "1000000/minute")
    return settings | limits


async def _is_quiet(service):
    """Whether no call is left behind, by what the service says of itself."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        text = (await client.get(service.base_url.removesuffix("api/v1/") + "metrics")).text
    names = ("soloist_tool_busy_threads", "soloist_tool_hung_calls", "soloist_open_streams")
    return all(f"\n{name} 0.0" in text for name in names)
