"""Start the process anew between any two calls: ids keep working, whichever process they meet."""

import pytest

from tests.support import (
    WEATHER,
    finished_run,
    in_process,
    make_settings,
    new_run,
    new_thread,
    run_to,
)


@pytest.fixture
def again(tmp_path):
    """Start the service anew on the same embedded database each time."""

    def start(**changes):
        settings = {
            "embedded_db": str(tmp_path / "embedded.db"),
            "embedded_responder": "scripted",
            "assistant_tools": [WEATHER],
        }
        return in_process(make_settings(**(settings | changes)))

    return start


async def test_a_conversation_goes_on_over_restarts(again):
    async with again() as service:
        body = {"message": "one", "on_disconnect": "detach"}
        first = (await service.client.post("chat", json=body)).json()
    async with again() as service:
        body = {"message": "two", "thread_id": first["thread_id"], "on_disconnect": "detach"}
        second = (await service.client.post("chat", json=body)).json()
    async with again() as service:
        path = f"threads/{first['thread_id']}"
        page = (await service.client.get(f"{path}/messages", params={"order": "asc"})).json()
        runs = (await service.client.get(f"{path}/runs")).json()["data"]
        run = (await service.client.get(f"{path}/runs/{first['run_id']}")).json()
    assert [message["run_id"] for message in page["data"]] == [None, first["run_id"], None, second["run_id"]]
    assert [found["id"] for found in runs] == [second["run_id"], first["run_id"]]
    assert run["status"] == "completed"


async def test_every_id_is_read_by_the_next_process(again):
    async with again() as service:
        client = service.client
        run = await finished_run(client, "hi")
        path = f"threads/{run['thread_id']}"
        before = [
            (await client.get(url)).json()
            for url in (path, f"{path}/messages", f"{path}/runs", f"{path}/runs/{run['id']}/steps")
        ]
    async with again() as service:
        client = service.client
        after = [
            (await client.get(url)).json()
            for url in (path, f"{path}/messages", f"{path}/runs", f"{path}/runs/{run['id']}/steps")
        ]
        step = before[3]["data"][0]
        assert (await client.get(f"{path}/runs/{run['id']}/steps/{step['id']}")).json() == step
        message = before[1]["data"][0]
        assert (await client.get(f"{path}/messages/{message['id']}")).json() == message
    assert after == before


async def test_a_tool_call_is_answered_to_the_next_process(again):
    async with again() as service:
        run = await finished_run(service.client, "rounds:2", "requires_action")
    for status in ("requires_action", "completed"):
        async with again() as service:
            call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
            outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sunny"}]}
            path = f"threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
            after = (await service.client.post(path, json=outputs)).json()
            assert after["id"] == run["id"]
            run = await run_to(service.client, after, status)


async def test_a_run_that_was_cut_off_with_its_upstream_ends(again):
    async with again() as service:
        run = await new_run(service.client, await new_thread(service.client, "slow: story"))
    async with again() as service:
        await run_to(service.client, run, "failed")
        body = {"message": "hi", "thread_id": run["thread_id"]}
        assert (await service.client.post("chat", json=body)).json()["message"] == "You said: hi"


async def test_signed_ids_hold_while_a_key_is_known(again):
    old, new, other = ("o" * 40, "n" * 40, "x" * 40)
    async with again(secret_keys=[old]) as service:
        thread_id = (await service.client.post("chat", json={"message": "hi"})).json()["thread_id"]
    async with again(secret_keys=[new, old]) as service:
        assert (await service.client.get(f"threads/{thread_id}/messages")).status_code == 200
    async with again(secret_keys=[other]) as service:
        assert (await service.client.get(f"threads/{thread_id}/messages")).status_code == 404
