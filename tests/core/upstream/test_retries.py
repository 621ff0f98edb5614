"""Calls that may be repeated are: what a run depends on is not lost to one hiccup of the upstream."""

from collections import Counter

import pytest

from tests.fake_upstream import Connection, Request, fake_upstream, pass_on
from tests.support import embedded_upstream, error_of, finished_run, new_run, new_thread, run_to


class Hiccup:
    """Passes everything on to another upstream, but for the first calls of one kind."""

    def __init__(self, url: str, method: str, suffix: str, times: int) -> None:
        self._url = url
        self._kind = (method, suffix)
        self._left = times
        self.seen: Counter[str] = Counter()

    async def __call__(self, request: Request, connection: Connection) -> None:
        method, suffix = self._kind
        if request.method == method and request.path.endswith(suffix):
            self.seen[request.path] += 1
            if self._left:
                self._left -= 1
                await connection.answer(500, {"error": {"message": "canary"}})
                return
        await pass_on(self._url, request, connection)


@pytest.mark.parametrize("times", [1, 2])
async def test_the_round_of_a_run_is_remembered_at_the_second_or_third_try(start, upstream, times):
    async with start(url=upstream) as direct:
        run = await finished_run(direct.client, "tool: weather", "requires_action")
        conversation = run["thread_id"].replace("thread_", "conv_")
        await direct.client.get(f"threads/{run['thread_id']}/messages")
    hiccup = Hiccup(upstream, "POST", f"/conversations/{conversation}", times)
    async with fake_upstream(hiccup) as fake, start(url=fake.url) as service:
        call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}]}
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        submitted = await service.client.post(f"{path}/submit_tool_outputs", json=outputs)
        assert submitted.status_code == 200
        await run_to(service.client, submitted.json(), "completed")
    assert sum(hiccup.seen.values()) == times + 1


async def test_a_cancel_that_fails_is_sent_again(start):
    async with embedded_upstream(token_ms=50) as url, start(url=url) as direct:
        run = await new_run(direct.client, await new_thread(direct.client, "slow: words"))
        async with fake_upstream(Hiccup(url, "POST", "/cancel", 1)) as fake, start(url=fake.url) as service:
            path = f"threads/{run['thread_id']}/runs/{run['id']}"
            assert (await service.client.post(f"{path}/cancel")).status_code == 200
            await run_to(service.client, run, "cancelled")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat", {"message": "hi"}),
        ("chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("ag-ui", {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "hi"}]}),
    ],
)
async def test_a_busy_thread_is_a_conflict_on_every_chat_surface(start, path, body):
    async with start(is_served=True, lock_wait_seconds=0, knobs={"token_ms": 50}) as service:
        thread_id = await new_thread(service.client, "slow: words")
        run = await new_run(service.client, thread_id)
        named = {"forwardedProps": {"thread_id": thread_id}} if path == "ag-ui" else {"thread_id": thread_id}
        response = await service.client.post(path, json={**body, **named})
        assert error_of(response, 409)["code"] == "thread_busy"
        assert response.headers["retry-after"] == "2"
        await service.client.post(f"threads/{thread_id}/runs/{run['id']}/cancel")
