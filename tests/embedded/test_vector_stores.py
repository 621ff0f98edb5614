"""Vector stores through the SDK."""

import io

from tests.embedded.support import refused

MANUAL = b"The red button stops the pump.\n\nThe green lever opens the sluice gate.\n"


def _upload(client, data=MANUAL, name="manual.txt"):
    return client.files.create(file=(name, io.BytesIO(data)), purpose="user_data")


class TestVectorStores:
    async def test_files_are_attached_searched_and_taken_out(self, client):
        store = await client.vector_stores.create(name="manuals", metadata={"k": "v"})
        file = await _upload(client)
        attached = await client.vector_stores.files.create(
            store.id, file_id=file.id, attributes={"lang": "en"}
        )
        assert (attached.status, attached.attributes) == ("completed", {"lang": "en"})
        assert (await client.vector_stores.retrieve(store.id)).file_counts.completed == 1
        found = await client.vector_stores.search(store.id, query="what opens the sluice gate?")
        assert (found.data[0].file_id, found.data[0].filename) == (file.id, "manual.txt")
        assert "sluice gate" in found.data[0].content[0].text
        assert 0 < found.data[0].score <= 1
        assert (await client.vector_stores.files.delete(file.id, vector_store_id=store.id)).deleted is True
        assert (await client.vector_stores.search(store.id, query="sluice")).data == []
        assert (await client.vector_stores.delete(store.id)).deleted is True
        with refused(404):
            await client.vector_stores.retrieve(store.id)

    async def test_its_files_are_listed_by_page_and_status(self, client):
        store = await client.vector_stores.create()
        good = [(await _upload(client, name=f"{at}.txt")).id for at in range(3)]
        bad = (await _upload(client, data=b"\0\1\2", name="x.bin")).id
        for file_id in (*good, bad):
            await client.vector_stores.files.create(store.id, file_id=file_id)
        listed = [file.id async for file in client.vector_stores.files.list(store.id, limit=2, order="asc")]
        assert listed == [*good, bad]
        failed = (await client.vector_stores.files.list(store.id, filter="failed")).data
        assert [(file.id, file.last_error.code) for file in failed] == [(bad, "unsupported_file")]
        with refused() as error:
            await client.vector_stores.files.list(store.id, filter="odd")
        assert error["param"] == "filter"

    async def test_attributes_filter_the_search(self, client):
        store = await client.vector_stores.create()
        for lang in ("en", "ko"):
            file = await _upload(client, name=f"{lang}.txt")
            await client.vector_stores.files.create(store.id, file_id=file.id, attributes={"lang": lang})
        only = {"type": "or", "filters": [{"type": "eq", "key": "lang", "value": "ko"}]}
        found = await client.vector_stores.search(store.id, query="pump", filters=only)
        assert [hit.filename for hit in found.data] == ["ko.txt"]
        with refused() as error:
            await client.vector_stores.search(store.id, query="pump", filters={"type": "like"})
        assert error["param"] == "filters"

    async def test_attributes_are_replaced(self, client):
        file = await _upload(client)
        store = await client.vector_stores.create(file_ids=[file.id])
        await client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes={"hash": "abc"})
        told = await client.vector_stores.files.retrieve(file.id, vector_store_id=store.id)
        assert told.attributes == {"hash": "abc"}

    async def test_deleting_a_file_takes_it_out_of_its_stores(self, client):
        file = await _upload(client)
        store = await client.vector_stores.create(file_ids=[file.id])
        await client.files.delete(file.id)
        assert (await client.vector_stores.retrieve(store.id)).file_counts.total == 0

    async def test_a_store_is_renamed_and_given_an_expiry(self, client):
        store = await client.vector_stores.create(name="old", metadata={"k": "v"})
        expiry = {"anchor": "last_active_at", "days": 7}
        changed = await client.vector_stores.update(store.id, name="new", expires_after=expiry)
        assert (changed.name, changed.metadata) == ("new", {"k": "v"})
        assert changed.expires_at == changed.last_active_at + 7 * 86400
        with refused() as error:
            await client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 0})
        assert error["param"] == "expires_after.days"

    async def test_unknown_ids_are_404(self, client):
        store = await client.vector_stores.create()
        for call in (
            client.vector_stores.retrieve("vs_none"),
            client.vector_stores.create(file_ids=["file-none"]),
            client.vector_stores.files.create(store.id, file_id="file-none"),
            client.vector_stores.files.retrieve("file-none", vector_store_id=store.id),
            client.vector_stores.search("vs_none", query="x"),
        ):
            with refused(404):
                await call
        assert [one.id async for one in client.vector_stores.list()] == [store.id]

    async def test_file_search_cites_the_file(self, client):
        file = await _upload(client)
        store = await client.vector_stores.create(file_ids=[file.id])
        tools = [{"type": "file_search", "vector_store_ids": [store.id]}]
        response = await client.responses.create(model="m", input="cite: the pump", tools=tools)
        assert response.output[0].type == "file_search_call"
        (cited,) = response.output[1].content[0].annotations
        assert (cited.type, cited.file_id, cited.filename) == ("file_citation", file.id, "manual.txt")
