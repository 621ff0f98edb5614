"""Idle threads and old responses are deleted, by one replica at a time, on both engines."""

import pytest

from tests.core.test_config import refused
from tests.store.support import change, chat, rows_of, titles
from tests.support import error_of, finished_run, stats, until

DAY = 86_400
ITEMS = "SELECT count(*) FROM items"


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr("app.core.services.retention._PAUSE_SECONDS", 0.05)


async def age(client, store_url, thread_id, days):
    """Let the last activity on a thread be so many days ago."""
    # What is noted in the background is written before a list is read.
    await titles(client)
    await change(
        store_url,
        "UPDATE threads SET active_at = active_at - :age WHERE conversation_id = :id",
        age=int(days * DAY * 1_000_000),
        id=thread_id.replace("thread_", "conv_"),
    )


async def has_titles(client, wanted):
    return await titles(client) == wanted


async def test_idle_threads_are_deleted_with_all_that_is_in_them(begin, keeper, store_url):
    async with begin(thread_retention_days=7) as service:
        client = service.client
        old = [(await chat(client, text))["thread_id"] for text in ("one", "two", "three")]
        kept = (await chat(client, "four"))["thread_id"]
        await age(client, store_url, kept, 6.9)
        for thread_id in old:
            await age(client, store_url, thread_id, 7.1)
        await until(lambda: has_titles(client, ["four"]))
        for thread_id in old:
            error_of(await client.get(f"threads/{thread_id}"), 404)
        assert (await client.get(f"threads/{kept}/messages")).json()["data"][0]["content"]
        kept_by, url = keeper
        if kept_by == "own":
            assert rows_of(store_url, ITEMS) == [(2,)]
            assert rows_of(store_url, "SELECT count(*) FROM responses") == [(1,)]
        else:
            assert (await stats(url))["conversations"] == 1


async def test_more_than_one_batch_and_those_that_cannot_be_deleted(begin, keeper, store_url, monkeypatch):
    monkeypatch.setattr("app.core.services.retention._BATCH", 2)
    async with begin(thread_retention_days=1) as service:
        client = service.client
        made = [(await chat(client, str(number)))["thread_id"] for number in range(7)]
        if keeper[0] == "upstream":
            # It is gone upstream: only its entry is left to delete.
            async with begin(store_url=None) as other:
                await other.client.delete(f"threads/{made[0]}")
        for thread_id in made[:6]:
            await age(client, store_url, thread_id, 2)
        await until(lambda: has_titles(client, ["6"]))


async def test_without_the_setting_nothing_is_deleted(begin, store_url):
    async with begin() as service:
        client = service.client
        thread_id = (await chat(client, "one"))["thread_id"]
        await age(client, store_url, thread_id, 10_000)
        fence = "SELECT fence FROM leases WHERE name = 'retention'"
        # Two sweeps take the lease twice.
        await until(lambda: (found := rows_of(store_url, fence)) and found[0][0] >= 2)
        assert await titles(client) == ["one"]


@pytest.mark.parametrize("keeper", ["own"], indirect=True)
async def test_ended_responses_are_dropped_after_thirty_days(begin, store_url):
    async with begin() as service:
        client = service.client
        run, young = await finished_run(client, "one"), await finished_run(client, "two")
        await change(
            store_url,
            "UPDATE responses SET created_at = created_at - :age WHERE id = :id",
            age=31 * DAY,
            id=run["id"].replace("run_", "resp_"),
        )
        await until(lambda: len(rows_of(store_url, "SELECT id FROM responses")) == 1)
        error_of(await client.get(f"threads/{run['thread_id']}/runs/{run['id']}"), 404)
        path = f"threads/{young['thread_id']}/runs/{young['id']}"
        assert (await client.get(path)).json()["status"] == "completed"
        again = await chat(client, "again", thread_id=run["thread_id"])
        assert again["message"] == "You said: again"
        assert rows_of(store_url, ITEMS) == [(6,)]


@pytest.mark.needs_postgres
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_one_replica_sweeps_and_another_takes_over(begin, store_url):
    owners = "SELECT owner FROM leases WHERE name = 'retention'"
    async with begin(thread_retention_days=1) as staying:
        client = staying.client
        async with begin(thread_retention_days=1):
            await until(lambda: rows_of(store_url, owners))
            ((first,),) = rows_of(store_url, owners)
            thread_id = (await chat(client, "one"))["thread_id"]
            await age(client, store_url, thread_id, 2)
            await until(lambda: has_titles(client, []))
            assert rows_of(store_url, owners) == [(first,)]
        # Whoever had it: the lease runs out with its holder.
        await change(store_url, "UPDATE leases SET owner = 'dead', expires_at = 0 WHERE name = 'retention'")
        thread_id = (await chat(client, "two"))["thread_id"]
        await age(client, store_url, thread_id, 2)
        await until(lambda: has_titles(client, []))
        await change(
            store_url, "UPDATE leases SET owner = 'other', expires_at = 1e12 WHERE name = 'retention'"
        )
        thread_id = (await chat(client, "three"))["thread_id"]
        await age(client, store_url, thread_id, 2)
        assert await titles(client) == ["three"]


def test_it_needs_a_store():
    assert "STORE_URL" in refused(thread_retention_days=7, conversations="upstream")
