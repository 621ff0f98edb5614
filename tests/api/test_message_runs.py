"""Messages name the run that wrote them and the time, whatever the ids of the upstream look like."""

import time
import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from app.core.upstream.errors import UpstreamServerError
from app.core.upstream.responses import Responses
from tests.conftest import Start
from tests.fake_upstream import Connection, FakeUpstream, Request, fake_upstream, pass_on
from tests.support import finished_run, new_run, new_thread, run_to


@pytest.fixture(params=["timed", "random"])
def _ids(request, monkeypatch):
    if request.param == "random":
        monkeypatch.setattr("app.embedded.ids._suffix", lambda _stem: str(uuid.uuid4()))


@pytest.fixture
async def recorded(_ids, upstream) -> AsyncIterator[FakeUpstream]:
    """The scripted upstream behind one that records every request."""

    async def handle(request: Request, connection: Connection) -> None:
        await pass_on(upstream, request, connection)

    async with fake_upstream(handle) as found:
        yield found


@pytest.fixture
async def client(start: Start, recorded) -> AsyncIterator[httpx2.AsyncClient]:
    async with start(url=recorded.url) as service:
        yield service.client


async def messages_of(client, thread_id, **query):
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc", **query})).json()
    return page["data"]


def reads(recorded):
    return [request.path for request in recorded.requests if request.path.startswith("/v1/responses/")]


async def test_every_answer_names_its_run(client):
    first = await finished_run(client, "one")
    thread_id = first["thread_id"]
    await client.post(f"threads/{thread_id}/messages", json={"role": "user", "content": "two"})
    second = await run_to(client, await new_run(client, thread_id), "completed")
    found = await messages_of(client, thread_id)
    assert [message["run_id"] for message in found] == [None, first["id"], None, second["id"]]
    for run, message in ((first, found[1]), (second, found[3])):
        assert await messages_of(client, thread_id, run_id=run["id"]) == [message]
        read = await client.get(f"threads/{thread_id}/messages/{message['id']}")
        assert read.json()["run_id"] == run["id"]
    exported = (await client.get(f"threads/{thread_id}/export")).json()["data"]
    assert exported == found


async def test_an_answer_of_a_later_round_names_the_run(client):
    run = await finished_run(client, "use the tool", "requires_action")
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}]}
    path = f"threads/{run['thread_id']}"
    later = (await client.post(f"{path}/runs/{run['id']}/submit_tool_outputs", json=outputs)).json()
    await run_to(client, later, "completed")
    found = await messages_of(client, run["thread_id"])
    assert [message["run_id"] for message in found] == [None, run["id"]]
    assert await messages_of(client, run["thread_id"], run_id=run["id"]) == found[1:]


async def test_the_answer_of_a_foreground_chat_is_found_by_its_run(client):
    chat = (await client.post("chat", json={"message": "hello"})).json()
    assert [message["run_id"] for message in await messages_of(client, chat["thread_id"])] == [None, None]
    (found,) = await messages_of(client, chat["thread_id"], run_id=chat["run_id"])
    assert (found["role"], found["run_id"]) == ("assistant", chat["run_id"])


async def test_times_are_those_of_now_and_in_order(client):
    began_at = int(time.time()) - 1
    run = await finished_run(client, "one")
    await client.post(f"threads/{run['thread_id']}/messages", json={"role": "user", "content": "two"})
    await run_to(client, await new_run(client, run["thread_id"]), "completed")
    found = await messages_of(client, run["thread_id"])
    times = [message["created_at"] for message in found]
    assert times == sorted(times)
    assert began_at <= times[0]
    assert times[-1] <= time.time()
    assert [message["completed_at"] for message in found] == times
    newest_first = await client.get(f"threads/{run['thread_id']}/messages")
    assert newest_first.json()["data"] == found[::-1]


async def test_ended_responses_are_read_once(client, recorded):
    run = await finished_run(client, "one")
    await messages_of(client, run["thread_id"])
    recorded.requests.clear()
    await messages_of(client, run["thread_id"])
    await messages_of(client, run["thread_id"], run_id=run["id"])
    assert reads(recorded) == []


async def test_pages_without_answers_read_no_response(start, recorded):
    async with start(url=recorded.url) as service:
        run = await finished_run(service.client, "one")
    recorded.requests.clear()
    # Another process, which knows no response yet.
    async with start(url=recorded.url) as service:
        await messages_of(service.client, run["thread_id"], limit=1)
        assert reads(recorded) == []
        await messages_of(service.client, run["thread_id"])
        assert len(reads(recorded)) == 1


async def test_a_response_that_is_gone_wrote_nothing(start, upstream):
    async with start(url=upstream) as service:
        kept = await finished_run(service.client, "one")
        thread_id = kept["thread_id"]
        await service.client.post(f"threads/{thread_id}/messages", json={"role": "user", "content": "two"})
        gone = await run_to(service.client, await new_run(service.client, thread_id), "completed")
    async with httpx2.AsyncClient(base_url=upstream + "/") as direct:
        await direct.delete("responses/resp_" + gone["id"].removeprefix("run_"))
    async with start(url=upstream) as service:
        found = await messages_of(service.client, thread_id)
        assert [message["run_id"] for message in found] == [None, kept["id"], None, None]
        assert await messages_of(service.client, thread_id, run_id=gone["id"]) == []


async def test_messages_can_be_read_while_responses_cannot(start, upstream, monkeypatch):
    async with start(url=upstream) as service:
        run = await finished_run(service.client, "one")
    async with start(url=upstream) as service:

        async def broken(_self, _response_id, **_options):
            raise UpstreamServerError("The upstream failed.")

        monkeypatch.setattr(Responses, "get", broken)
        found = await messages_of(service.client, run["thread_id"])
        assert [message["run_id"] for message in found] == [None, None]
        path = f"threads/{run['thread_id']}/messages"
        assert (await service.client.get(path, params={"run_id": run["id"]})).status_code == 502


async def test_a_thread_without_runs_has_an_empty_page_for_any_run(client):
    thread_id = await new_thread(client, "hello")
    assert await messages_of(client, thread_id, run_id="run_unknown") == []
