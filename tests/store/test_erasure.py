"""The erasure of one user: threads, their files and vector stores, entries; by API keys only."""

import pytest

from app.core.services.threads import Threads
from app.core.upstream.errors import UpstreamServerError
from tests.security.support import GUARDED, KEY_A, KEY_B, bearer, mint
from tests.store.support import change, chat, rows_of, titles
from tests.support import embedded_upstream, error_of, stats

KEY = bearer(KEY_A)
OWNER = bearer(KEY_A, x_user_id="u1")


@pytest.fixture(params=["upstream", "own"])
async def keeper(request):
    """Who keeps the conversations, and the upstream's URL."""
    kind = {} if request.param == "upstream" else {"kind": "responses"}
    async with embedded_upstream(**kind) as url:
        yield request.param, url


@pytest.fixture
def begin(begin):
    """Start the service with a store, API keys and tools; the rest are settings."""
    tools = [{"type": "file_search"}, {"type": "code_interpreter"}]

    def begun(**settings):
        return begin(**(GUARDED | {"assistant_tools": tools} | settings))

    return begun


async def uploaded(client, headers):
    form = {"file": ("a.txt", b"text"), "purpose": (None, "assistants")}
    response = await client.post("files", files=form, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["id"]


async def with_attachments(client, headers, *tools):
    """Make a thread whose message attaches a new file; the ids of both."""
    file_id = await uploaded(client, headers)
    attachment = {"file_id": file_id, "tools": [{"type": tool} for tool in tools]}
    message = {"role": "user", "content": "look", "attachments": [attachment]}
    response = await client.post("threads", json={"messages": [message]}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["id"], file_id


async def erase(client, user="u1", headers=KEY):
    response = await client.delete(f"users/{user}", headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_everything_of_the_user_is_deleted_and_nothing_else(begin, keeper, store_url):
    async with begin() as service:
        client = service.client
        made = [(await chat(client, str(number), OWNER))["thread_id"] for number in range(6)]
        searched, one = await with_attachments(client, OWNER, "file_search")
        run, two = await with_attachments(client, OWNER, "code_interpreter")
        seen, three = await with_attachments(client, OWNER)
        others = {"u2": bearer(KEY_A, x_user_id="u2"), "b": bearer(KEY_B, x_user_id="u1"), "a": KEY}
        left = {name: await with_attachments(client, headers) for name, headers in others.items()}
        answer = await erase(client)
        assert answer == {"id": "u1", "object": "user.deleted", "deleted": True, "threads": 9}
        for thread_id in (*made, searched, run, seen):
            error_of(await client.get(f"threads/{thread_id}", headers=OWNER), 404)
        for file_id in (one, two, three):
            error_of(await client.get(f"files/{file_id}", headers=OWNER), 404)
        assert await titles(client, OWNER) == []
        for name, (thread_id, file_id) in left.items():
            for path in (f"threads/{thread_id}", f"files/{file_id}"):
                assert (await client.get(path, headers=others[name])).status_code == 200
        kept_by, url = keeper
        if kept_by == "own":
            assert rows_of(store_url, "SELECT count(*) FROM conversations") == [(3,)]
        else:
            assert (await stats(url))["conversations"] == 3
        assert (await erase(client))["threads"] == 0


async def test_a_users_session_and_key_see_the_same_end(begin):
    async with begin() as service:
        session = bearer(await mint(service.client, "a/b@c d"))
        await chat(service.client, "one", session)
        assert (await erase(service.client, "a%2Fb@c%20d"))["id"] == "a/b@c d"
        assert await titles(service.client, session) == []


async def test_only_api_keys_may(begin):
    async with begin() as service:
        session = bearer(await mint(service.client, "u1"))
        error_of(await service.client.delete("users/u1", headers=session), 403)
        error_of(await service.client.delete("users/u1"), 401)
        error_of(await service.client.delete(f"users/{'x' * 1000}", headers=KEY), 400)
    async with begin(auth_mode="none", api_keys={}) as service:
        error_of(await service.client.delete("users/u1"), 403)


async def test_without_a_store(start):
    async with start(**GUARDED) as service:
        error = error_of(await service.client.delete("users/u1", headers=KEY), 501)
        assert error["code"] == "store_not_configured"


@pytest.mark.parametrize("keeper", ["upstream"], indirect=True)
async def test_what_cannot_be_deleted_is_told_and_tried_again(begin, monkeypatch):
    async with begin() as service:
        client = service.client
        for number in range(6):
            await chat(client, str(number), OWNER)
        await _fail_for(monkeypatch, client, {"3", "5"})
        error_of(await client.delete("users/u1", headers=KEY), 502)
        assert await titles(client, OWNER) == ["5", "3"]
        monkeypatch.undo()
        assert (await erase(client))["threads"] == 2
        assert await titles(client, OWNER) == []


async def _fail_for(monkeypatch, client, failing):
    """Let the upstream fail to read the threads with these titles."""
    listed = (await client.get("threads", headers=OWNER)).json()["data"]
    suffixes = {thread["id"].split("_")[1] for thread in listed if thread["title"] in failing}
    delete = Threads.delete_conversation

    async def failing_delete(self, conversation_id):
        if any(suffix in conversation_id for suffix in suffixes):
            raise UpstreamServerError("The upstream failed.")
        await delete(self, conversation_id)

    monkeypatch.setattr(Threads, "delete_conversation", failing_delete)


@pytest.mark.needs_postgres
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
async def test_threads_of_another_replica_are_deleted_too(begin):
    async with begin() as one, begin() as two:
        thread_id = (await chat(one.client, "one", OWNER))["thread_id"]
        assert (await erase(two.client))["threads"] == 1
        error_of(await one.client.get(f"threads/{thread_id}", headers=OWNER), 404)
        assert await titles(one.client, OWNER) == []


@pytest.mark.parametrize("keeper", ["own"], indirect=True)
async def test_an_entry_whose_thread_is_gone_goes_too(begin, store_url):
    async with begin() as service:
        client = service.client
        for number in range(2):
            await chat(client, str(number), OWNER)
        await change(store_url, "DELETE FROM conversations")
        await erase(client)
        assert await titles(client, OWNER) == []


@pytest.mark.parametrize("keeper", ["own"], indirect=True)
async def test_an_entry_that_another_call_deletes_meanwhile_is_passed_over(begin, monkeypatch, store_url):
    async with begin() as service:
        await chat(service.client, "one", OWNER)

        async def gone_and_failing(self, conversation_id):
            await change(store_url, "DELETE FROM threads")
            raise UpstreamServerError("The upstream failed.")

        monkeypatch.setattr(Threads, "delete_conversation", gone_and_failing)
        error_of(await service.client.delete("users/u1", headers=KEY), 502)
        assert await titles(service.client, OWNER) == []
