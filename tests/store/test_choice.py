"""Who keeps the conversations: the setting, the host, the upstream's answer, what the store remembers."""

import httpx2
import pytest

from app.core.upstream.target import target_of
from tests.fake_upstream import always, fake_upstream
from tests.support import embedded_upstream, error_of, make_settings, new_thread, stats


async def _kept_by(client: httpx2.AsyncClient) -> str:
    found: str = (await client.get("health")).json()["upstream"]["conversations"]
    return found


async def _calls(url: str, path: str) -> int:
    requests = (await stats(url))["requests"]
    return sum(count for name, count in requests.items() if name.endswith(path))


@pytest.mark.parametrize(
    ("changes", "has_conversations", "stores"),
    [
        ({"openai_api_key": "k"}, True, True),
        ({"openai_base_url": "https://eu.api.openai.com/v1"}, True, True),
        ({"openai_base_url": "https://notopenai.com/v1"}, None, None),
        ({"openai_base_url": "http://127.0.0.1:11434/v1"}, None, None),
        ({"openai_base_url": "https://api.x.ai/v1"}, None, True),
        ({"openai_base_url": "https://a.openai.azure.com/openai/v1"}, False, True),
        ({"azure_openai_endpoint": "https://proxy.example.com", "azure_openai_key": "k"}, False, True),
        ({}, True, True),
    ],
)
def test_hosts_that_are_known(changes, has_conversations, stores):
    target = target_of(make_settings(**changes), "http://127.0.0.1:1/v1")
    assert (target.has_conversations, target.stores_responses) == (has_conversations, stores)


@pytest.mark.parametrize(("kind", "kept_by"), [("conversations", "upstream"), ("nothing", "own")])
async def test_the_upstream_is_asked_at_the_start(start, store_url, kind, kept_by):
    async with (
        embedded_upstream(kind=kind) as url,
        start(url=url, conversations="auto", store_url=store_url) as service,
    ):
        assert await _kept_by(service.client) == kept_by
        ready = (await service.client.get("ready")).json()
        assert (ready["status"], ready["upstream"]["conversations"]) == ("ready", kept_by)
        assert ready["store"] == {"kind": store_url.partition(":")[0], "reachable": True}
        thread_id = await new_thread(service.client, "hi")
        assert thread_id.startswith("thread_own") is (kept_by == "own")


async def test_the_probe_is_deleted_and_its_answer_kept(start, store_url):
    async with embedded_upstream() as url:
        async with start(url=url, conversations="auto", store_url=store_url):
            assert (await stats(url))["conversations"] == 0
            assert await _calls(url, "POST /v1/conversations") == 1
        async with start(url=url, conversations="auto", store_url=store_url) as service:
            assert await _kept_by(service.client) == "upstream"
            assert await _calls(url, "POST /v1/conversations") == 1


async def test_without_a_store_url_the_default_file_is_made_only_where_it_is_needed(
    start, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    async with embedded_upstream() as url, start(url=url, conversations="auto") as service:
        await new_thread(service.client, "hi")
        assert (await service.client.get("ready")).json()["store"] is None
    assert not (tmp_path / "data").exists()
    async with embedded_upstream(kind="nothing") as url, start(url=url, conversations="auto"):
        assert (tmp_path / "data" / "soloist.db").is_file()


async def test_a_file_that_nothing_is_kept_in_is_not_locked(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with embedded_upstream(kind="nothing") as url, start(url=url, conversations="auto"):
        pass
    async with (
        embedded_upstream() as url,
        start(url=url, conversations="auto"),
        start(url=url, conversations="auto") as second,
    ):
        assert await _kept_by(second.client) == "upstream"


async def test_a_kept_answer_opens_the_file_at_the_start(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with embedded_upstream(kind="nothing") as url:
        for asked in (1, 1):
            async with start(url=url, conversations="auto") as service:
                assert (await service.client.get("ready")).json()["store"]["reachable"] is True
                assert await _calls(url, "POST /v1/conversations") <= asked


@pytest.mark.parametrize("status", [401, 429, 500, 502])
async def test_an_answer_that_does_not_tell_leaves_it_undecided(start, tmp_path, status):
    store = f"sqlite:///{tmp_path / 'soloist.db'}"
    async with (
        fake_upstream(always(status)) as upstream,
        start(url=upstream.url, conversations="auto", store_url=store) as service,
    ):
        assert await _kept_by(service.client) == "undecided"
        response = await service.client.get("ready")
        assert response.status_code == 503
        assert response.json()["upstream"]["conversations"] == "undecided"
        assert (await service.client.post("threads", json={})).status_code >= 429


async def test_an_upstream_that_is_away_at_the_start_is_asked_again(start, tmp_path):
    store = f"sqlite:///{tmp_path / 'soloist.db'}"
    async with fake_upstream(always(404)) as upstream:
        answer = always(503)

        async def handle(request, connection):
            await answer(request, connection)

        upstream.handler = handle
        async with start(url=upstream.url, conversations="auto", store_url=store) as service:
            assert await _kept_by(service.client) == "undecided"
            answer = always(404)
            assert (await new_thread(service.client, "hi")).startswith("thread_own")
            assert await _kept_by(service.client) == "own"


async def test_a_thread_of_the_other_kind_is_refused_clearly(start, store_url):
    async with embedded_upstream() as url:
        async with start(url=url, conversations="own", store_url=store_url) as service:
            own = await new_thread(service.client, "hi")
        async with start(url=url, conversations="upstream", store_url=store_url) as service:
            theirs = await new_thread(service.client, "hi")
            await _check_refused(service.client, own, "by the service itself")
        async with start(url=url, conversations="own", store_url=store_url) as service:
            await _check_refused(service.client, theirs, "by its upstream")
            assert (await service.client.get(f"threads/{own}")).status_code == 200
        async with start(url=url, conversations="upstream") as service:
            await _check_refused(service.client, own, "by the service itself")


async def _check_refused(client: httpx2.AsyncClient, thread_id: str, place: str) -> None:
    for response in (
        await client.get(f"threads/{thread_id}"),
        await client.get(f"threads/{thread_id}/messages"),
        await client.post("chat", json={"message": "hi", "thread_id": thread_id}),
        await client.post(f"threads/{thread_id}/runs", json={"assistant_id": "asst_soloist"}),
    ):
        error = error_of(response, 409)
        assert error["code"] == "thread_kept_elsewhere"
        assert place in error["message"]
        assert response.headers["x-should-retry"] == "false"
