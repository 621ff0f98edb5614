"""Vector stores and the files in them; their search is by keywords."""

import time
from collections.abc import Sequence
from sqlite3 import Row
from typing import Any

import orjson

from app.embedded.errors import ApiError, not_found
from app.embedded.ids import hex_id
from app.embedded.store.attribute_filter import matches
from app.embedded.store.database import Database
from app.embedded.store.files import FileStore, no_such_file
from app.embedded.store.paging import Listing, Page, page_rows
from app.embedded.store.passages import PassageIndex
from app.embedded.wire import (
    ExpiresAfter,
    Json,
    VectorStoreCreate,
    VectorStoreFileCreate,
    VectorStoreUpdate,
    list_page,
)

_CHUNKING = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
_STATUSES = ("in_progress", "completed", "cancelled", "failed")
_UNSUPPORTED = {"code": "unsupported_file", "message": "The file holds no text that could be searched."}
_DAY_SECONDS = 86400


class VectorStores:
    """Reads and writes `/v1/vector_stores`."""

    def __init__(self, database: Database, files: FileStore, passages: PassageIndex) -> None:
        self._database = database
        self._files = files
        self._passages = passages

    async def create(self, request: VectorStoreCreate) -> Json:
        """Store a vector store with its first files; the vector store object.

        Raises ApiError 404 for an unknown file, before anything is stored.
        """
        for file_id in request.file_ids or []:
            await self._files.get(file_id)
        store_id, created = hex_id("vs", 32), int(time.time())
        body = {
            "name": request.name or "",
            "metadata": request.metadata or {},
            "expires_after": _builtins(request.expires_after),
            "last_active_at": created,
        }
        await self._database.write(
            "INSERT INTO vector_stores (id, created_at, body) VALUES (?, ?, ?)",
            (store_id, created, orjson.dumps(body)),
        )
        for file_id in request.file_ids or []:
            await self.add_file(store_id, VectorStoreFileCreate(file_id=file_id))
        return await self.get(store_id)

    async def get(self, store_id: str) -> Json:
        """The vector store object.

        Raises ApiError 404.
        """
        row = await self._database.row(
            "SELECT id, created_at, body FROM vector_stores WHERE id = ?", (store_id,)
        )
        if row is None:
            raise not_found("Vector store", store_id)
        return await self._store_object(row)

    async def _store_object(self, row: Row) -> Json:
        counts = dict.fromkeys(_STATUSES, 0)
        usage = 0
        for status, number, size in await self._database.rows(
            "SELECT v.status, count(*), coalesce(sum(f.bytes), 0) FROM vector_store_files v"
            " LEFT JOIN files f ON f.id = v.file_id WHERE v.vector_store_id = ? GROUP BY v.status",
            (row[0],),
        ):
            counts[status] = number
            usage += size
        body = orjson.loads(row[2])
        days = (body["expires_after"] or {}).get("days")
        return {
            "id": row[0],
            "object": "vector_store",
            "created_at": row[1],
            **body,
            "expires_at": body["last_active_at"] + days * _DAY_SECONDS if days else None,
            "file_counts": {**counts, "total": sum(counts.values())},
            "status": "completed",
            "usage_bytes": usage,
        }

    async def update(self, store_id: str, request: VectorStoreUpdate) -> Json:
        """Change name, metadata or expiry; what is null stays.

        Raises ApiError 404.
        """
        present = await self.get(store_id)
        body = {
            "name": present["name"] if request.name is None else request.name,
            "metadata": present["metadata"] if request.metadata is None else request.metadata,
            "expires_after": _builtins(request.expires_after) or present["expires_after"],
            "last_active_at": int(time.time()),
        }
        await self._database.write(
            "UPDATE vector_stores SET body = ? WHERE id = ?", (orjson.dumps(body), store_id)
        )
        return await self.get(store_id)

    async def delete(self, store_id: str) -> None:
        """Remove a vector store; its files stay in `/v1/files`.

        Raises ApiError 404.
        """
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                "DELETE FROM vector_stores WHERE id = ? RETURNING id", (store_id,)
            )
            await transaction.execute("DELETE FROM vector_store_files WHERE vector_store_id = ?", (store_id,))
        if not gone:
            raise not_found("Vector store", store_id)

    async def page(self, page: Page) -> Json:
        """One page of vector stores.

        Raises ApiError 400 for a bad cursor.
        """
        listing = Listing("vector_stores", "id, created_at, body", "1", ())
        rows, has_more = await page_rows(self._database, listing, page)
        return list_page([await self._store_object(row) for row in rows], has_more=has_more)

    async def add_file(self, store_id: str, request: VectorStoreFileCreate) -> Json:
        """Put a file in and index it at once; the vector store file object.

        Raises ApiError 404 for either id.
        """
        await self.get(store_id)
        size = (await self._files.get(request.file_id))["bytes"]
        searchable = await self._files.ensure_indexed(request.file_id)
        body = {
            "created_at": int(time.time()),
            "usage_bytes": size,
            "attributes": request.attributes or {},
            "last_error": None if searchable else _UNSUPPORTED,
            "chunking_strategy": _CHUNKING,
        }
        status = "completed" if searchable else "failed"
        await self._database.write(
            "INSERT INTO vector_store_files (vector_store_id, file_id, status, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET status = excluded.status, body = excluded.body",
            (store_id, request.file_id, status, orjson.dumps(body)),
        )
        return await self.get_file(store_id, request.file_id)

    async def get_file(self, store_id: str, file_id: str) -> Json:
        """The vector store file object.

        Raises ApiError 404 for either id.
        """
        await self.get(store_id)
        row = await self._database.row(
            "SELECT vector_store_id, file_id, status, body FROM vector_store_files"
            " WHERE vector_store_id = ? AND file_id = ?",
            (store_id, file_id),
        )
        if row is None:
            raise no_such_file(file_id)
        return _file_object(row)

    async def update_file(self, store_id: str, file_id: str, attributes: Json) -> Json:
        """Replace a file's attributes.

        Raises ApiError 404 for either id.
        """
        present = await self.get_file(store_id, file_id)
        kept = ("created_at", "usage_bytes", "last_error", "chunking_strategy")
        body = {**{key: present[key] for key in kept}, "attributes": attributes}
        await self._database.write(
            "UPDATE vector_store_files SET body = ? WHERE vector_store_id = ? AND file_id = ?",
            (orjson.dumps(body), store_id, file_id),
        )
        return await self.get_file(store_id, file_id)

    async def delete_file(self, store_id: str, file_id: str) -> None:
        """Take a file out.

        Raises ApiError 404 for either id.
        """
        await self.get_file(store_id, file_id)
        await self._database.write(
            "DELETE FROM vector_store_files WHERE vector_store_id = ? AND file_id = ?", (store_id, file_id)
        )

    async def page_files(self, store_id: str, status: str | None, page: Page) -> Json:
        """One page of a vector store's files, of one status if given.

        Raises ApiError 404 for the store, 400 for a bad cursor or status.
        """
        await self.get(store_id)
        where, parameters = "vector_store_id = ?", [store_id]
        if status is not None:
            if status not in _STATUSES:
                supported = ", ".join(_STATUSES)
                raise ApiError(f"Invalid 'filter': expected one of {supported}.", param="filter")
            where, parameters = f"{where} AND status = ?", [store_id, status]
        columns = "vector_store_id, file_id, status, body"
        listing = Listing("vector_store_files", columns, where, parameters, "file_id")
        rows, has_more = await page_rows(self._database, listing, page)
        return list_page([_file_object(row) for row in rows], has_more=has_more)

    async def file_ids(self, store_ids: Sequence[str], filters: Json | None = None) -> dict[str, Json]:
        """Attributes of the searchable files of these stores that satisfy the filter, by file id."""
        marks = ",".join("?" * len(store_ids))
        rows = await self._database.rows(
            "SELECT file_id, body FROM vector_store_files WHERE status = 'completed'"  # noqa: S608 - question marks only
            f" AND vector_store_id IN ({marks})",
            store_ids,
        )
        found = {row[0]: orjson.loads(row[1])["attributes"] for row in rows}
        return {
            file_id: given for file_id, given in found.items() if filters is None or matches(filters, given)
        }

    async def search(
        self, store_id: str, queries: Sequence[str], limit: int, filters: Json | None
    ) -> list[Json]:
        """Search results, best first.

        Raises ApiError 404, and 400 for a filter that cannot be read.
        """
        await self.get(store_id)
        attributes = await self.file_ids([store_id], filters)
        hits = await self._passages.search(" ".join(queries), list(attributes), limit)
        names = await self._files.names([hit.file_id for hit in hits])
        return [
            {
                "file_id": hit.file_id,
                "filename": names.get(hit.file_id, ""),
                "score": hit.score,
                "attributes": attributes[hit.file_id],
                "content": [{"type": "text", "text": hit.text}],
            }
            for hit in hits
        ]


def _builtins(expiry: ExpiresAfter | None) -> Json | None:
    return None if expiry is None else {"anchor": expiry.anchor, "days": expiry.days}


def _file_object(row: Sequence[Any]) -> Json:
    store_id, file_id, status, body = row
    return {
        "id": file_id,
        "object": "vector_store.file",
        "status": status,
        "vector_store_id": store_id,
        **orjson.loads(body),
    }
