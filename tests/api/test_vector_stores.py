"""The assistant's own knowledge: read by those who may, written by API keys, cheap to poll."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.conftest import Start
from tests.security.support import GUARDED, KEY_A, bearer, mint
from tests.support import WEATHER, Service, error_of, stats

FILE_KEYS = {
    "id",
    "object",
    "created_at",
    "vector_store_id",
    "status",
    "usage_bytes",
    "last_error",
    "attributes",
    "chunking_strategy",
}
TEXT = b"The red button stops the pump."


@dataclass
class Knowledge:
    """A service whose assistant has one store with one file; `headers` are an API key's."""

    service: Service
    store_id: str
    file_id: str
    headers: dict[str, str]

    @property
    def client(self) -> httpx2.AsyncClient:
        return self.service.client

    def path(self, rest: str = "") -> str:
        return f"vector_stores/{self.store_id}{rest}"


@pytest.fixture
async def store_id(upstream) -> str:
    async with httpx2.AsyncClient(base_url=upstream + "/") as client:
        made: str = (await client.post("vector_stores", json={"name": "K"})).json()["id"]
        return made


async def _upload(client: httpx2.AsyncClient, headers: dict[str, str], purpose: str = "user_data") -> str:
    files, data = {"file": ("manual.txt", TEXT)}, {"purpose": purpose}
    made: str = (await client.post("files", files=files, data=data, headers=headers)).json()["id"]
    return made


@pytest.fixture(params=[False, True], ids=["closed", "exposed"])
def is_exposed(request) -> bool:
    return bool(request.param)


@pytest.fixture
async def knowledge(start: Start, upstream, store_id, is_exposed) -> AsyncIterator[Knowledge]:
    settings: dict[str, Any] = {"assistant_vector_stores": [store_id], "expose_knowledge": is_exposed}
    async with start(url=upstream, rate_limit_enabled=False, **settings, **GUARDED) as service:
        headers = bearer(KEY_A)
        file_id = await _upload(service.client, headers)
        body = {"file_id": file_id, "attributes": {"path": "manual.txt"}}
        added = await service.client.post(f"vector_stores/{store_id}/files", json=body, headers=headers)
        assert added.status_code == 200, added.text
        yield Knowledge(service, store_id, file_id, headers)


async def test_an_api_key_reads_writes_and_lists(knowledge):
    client, headers = knowledge.client, knowledge.headers
    store = (await client.get(knowledge.path(), headers=headers)).json()
    assert (store["id"], store["object"], store["name"]) == (knowledge.store_id, "vector_store", "K")
    assert store["file_counts"]["completed"] == 1
    page = (await client.get(knowledge.path("/files"), headers=headers)).json()
    [file] = page["data"]
    assert set(file) == FILE_KEYS
    assert (file["id"], file["status"], file["attributes"]) == (
        knowledge.file_id,
        "completed",
        {"path": "manual.txt"},
    )
    assert (page["first_id"], page["last_id"], page["has_more"]) == (file["id"], file["id"], False)
    one = knowledge.path(f"/files/{knowledge.file_id}")
    assert (await client.get(one, headers=headers)).json() == file
    after = {"after": knowledge.file_id, "filter": "completed"}
    assert (await client.get(knowledge.path("/files"), params=after, headers=headers)).json()["data"] == []
    assert (await client.delete(one, headers=headers)).json() == {
        "id": knowledge.file_id,
        "object": "vector_store.file.deleted",
        "deleted": True,
    }
    assert (await client.get(knowledge.path("/files"), headers=headers)).json()["data"] == []
    error_of(await client.delete(one, headers=headers), 404)
    assert (await client.get(f"files/{knowledge.file_id}", headers=headers)).status_code == 200


async def test_other_stores_are_unknown(knowledge, upstream):
    async with httpx2.AsyncClient(base_url=upstream + "/") as direct:
        other = (await direct.post("vector_stores", json={"name": "other"})).json()["id"]
    client, headers = knowledge.client, knowledge.headers
    for path in (f"vector_stores/{other}", f"vector_stores/{other}/files", "vector_stores/vs_none"):
        assert error_of(await client.get(path, headers=headers), 404)["code"] == "vector_store_not_found"
    body = {"file_id": knowledge.file_id}
    error_of(await client.post(f"vector_stores/{other}/files", json=body, headers=headers), 404)
    error_of(await client.delete(f"vector_stores/{other}/files/{knowledge.file_id}", headers=headers), 404)


async def test_unknown_files_are_404(knowledge):
    client, headers = knowledge.client, knowledge.headers
    error_of(await client.post(knowledge.path("/files"), json={"file_id": "file-x"}, headers=headers), 404)
    error_of(await client.get(knowledge.path("/files/file-x"), headers=headers), 404)


async def test_a_browser_reads_only_what_is_exposed_and_writes_nothing(knowledge, is_exposed):
    client = knowledge.client
    headers = bearer(await mint(client))
    for path in (knowledge.path(), knowledge.path("/files")):
        response = await client.get(path, headers=headers)
        if is_exposed:
            assert response.status_code == 200
        else:
            assert error_of(response, 403)["code"] == "knowledge_not_exposed"
    body = {"file_id": await _upload(client, headers)}
    error_of(await client.post(knowledge.path("/files"), json=body, headers=headers), 403)
    error_of(await client.delete(knowledge.path(f"/files/{body['file_id']}"), headers=headers), 403)


async def test_a_browser_cannot_take_or_delete_what_is_cited_to_it(knowledge, is_exposed):
    client = knowledge.client
    headers = bearer(await mint(client))
    answer = (await client.post("chat", json={"message": "cite: red button"}, headers=headers)).json()
    cited = answer["annotations"][0]["file_id"]
    assert (await client.get(f"files/{cited}", headers=headers)).json()["filename"] == "manual.txt"
    error = error_of(await client.delete(f"files/{cited}", headers=headers), 403)
    assert error["code"] == "knowledge_not_exposed"
    content = await client.get(f"files/{cited}/content", headers=headers)
    if is_exposed:
        assert content.content == TEXT
    else:
        assert error_of(content, 403)["code"] == "knowledge_not_exposed"
    own = await _upload(client, headers)
    assert (await client.get(f"files/{own}/content", headers=headers)).content == TEXT
    assert (await client.delete(f"files/{own}", headers=headers)).json()["deleted"] is True


async def test_a_browser_does_not_list_files(knowledge):
    headers = bearer(await mint(knowledge.client))
    assert error_of(await knowledge.client.get("files", headers=headers), 403)["param"] is None


async def test_users_do_not_see_each_others_files(knowledge):
    client = knowledge.client
    one, other = bearer(await mint(client, "u1")), bearer(await mint(client, "u2"))
    file_id = await _upload(client, one)
    for response in (
        await client.get(f"files/{file_id}", headers=other),
        await client.get(f"files/{file_id}/content", headers=other),
        await client.delete(f"files/{file_id}", headers=other),
    ):
        assert error_of(response, 404)["code"] == "file_not_found"
    body = {"role": "user", "content": "x", "attachments": [{"file_id": file_id}]}
    thread_id = (await client.post("threads", headers=other)).json()["id"]
    error_of(await client.post(f"threads/{thread_id}/messages", json=body, headers=other), 404)


async def test_many_polls_are_one_call_upstream(start: Start, upstream, store_id):
    async with start(url=upstream, assistant_vector_stores=[store_id]) as service:
        path = f"vector_stores/{store_id}/files"
        before = (await stats(upstream))["requests"].get("GET /v1/vector_stores/{id}/files", 0)
        answers = await asyncio.gather(*(service.client.get(path) for _ in range(50)))
        assert {response.status_code for response in answers} == {200}
        after = (await stats(upstream))["requests"]["GET /v1/vector_stores/{id}/files"]
        assert after - before < 10


async def test_configured_stores_turn_file_search_on(start: Start, upstream, store_id):
    async with start(url=upstream, assistant_tools=[WEATHER], assistant_vector_stores=[store_id]) as service:
        [assistant] = (await service.client.get("assistants")).json()["data"]
        assert assistant["tools"] == [WEATHER, {"type": "file_search"}]
        assert assistant["tool_resources"] == {"file_search": {"vector_store_ids": [store_id]}}
        # The assistant's own store is nobody's to delete.
        asked = {"tool_resources": {"file_search": {"vector_store_ids": [store_id]}}}
        thread = (await service.client.post("threads", json=asked)).json()
        await service.client.delete(f"threads/{thread['id']}")
        assert (await service.client.get(f"vector_stores/{store_id}")).status_code == 200
