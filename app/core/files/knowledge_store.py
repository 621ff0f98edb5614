"""The assistant's own vector stores: their operator fills them, and API keys may change them."""

import asyncio
from collections.abc import Callable, Mapping

from app.core.assistant import Assistant
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import ForbiddenError, not_found
from app.core.upstream.errors import UpstreamMissingError, not_found_as
from app.core.upstream.port import Query, Upstream
from app.core.upstream.retries import parsed, read
from app.models.files import StoreFileCreate
from app.translate.events import Json
from app.translate.objects import page
from app.translate.upstream_types import checked_store, checked_store_file, checked_store_files

_CACHE_SECONDS = 1.0
_CACHE_ENTRIES = 256
_WHAT = "vector_store"


class KnowledgeStore:
    """The service behind `/vector_stores`; every other store than the assistant's answers 404.

    Reads are cached for a second and shared while they run, so that panels may poll.
    """

    def __init__(self, upstream: Upstream, assistant: Assistant, settings: Settings) -> None:
        self._upstream = upstream
        resources = assistant.tool_resources
        self.store_ids: list[str] = list((resources.get("file_search") or {}).get("vector_store_ids") or [])
        self._code_files = set((resources.get("code_interpreter") or {}).get("file_ids") or [])
        self.is_exposed = settings.expose_knowledge
        self._cache: dict[str, tuple[asyncio.Task[Json], float]] = {}

    async def get(self, scope: RequestScope, store_id: str) -> Json:
        """Read a store. Upstream: GET vector_stores/{v}."""
        self._check_reader(scope, store_id)
        with not_found_as(_WHAT):
            return store_object(await self._read(f"/vector_stores/{store_id}", checked_store))

    async def list_files(self, scope: RequestScope, store_id: str, query: Mapping[str, str | int]) -> Json:
        """List a store's files. Upstream: GET vector_stores/{v}/files."""
        self._check_reader(scope, store_id)
        sent = dict(query)
        for name in ("after", "before"):
            if name in sent:
                sent[name], _ = scope.file(str(sent[name]), name)
        with not_found_as(_WHAT):
            found = await self._read(f"/vector_stores/{store_id}/files", checked_store_files, sent)
        files = [store_file_object(each, scope) for each in found["data"]]
        return page(files, has_more=bool(found.get("has_more")))

    async def get_file(self, scope: RequestScope, store_id: str, file_id: str) -> Json:
        """Read a store's file. Upstream: GET vector_stores/{v}/files/{f}."""
        self._check_reader(scope, store_id)
        upstream_id, _ = scope.file(file_id)
        with not_found_as("file"):
            return store_file_object(
                await self._read(f"/vector_stores/{store_id}/files/{upstream_id}", checked_store_file), scope
            )

    async def add_file(self, scope: RequestScope, store_id: str, body: StoreFileCreate) -> Json:
        """Put an uploaded file into a store. Upstream: POST vector_stores/{v}/files."""
        self._check_writer(scope, store_id)
        upstream_id, _ = scope.file(body.file_id)
        sent = {"file_id": upstream_id} | body.model_dump(
            include={"attributes", "chunking_strategy"}, exclude_none=True
        )
        with not_found_as("file"):
            answer = await self._upstream.request("POST", f"/vector_stores/{store_id}/files", body=sent)
        self._cache.clear()
        return store_file_object(parsed(answer, checked_store_file), scope)

    async def remove_file(self, scope: RequestScope, store_id: str, file_id: str) -> Json:
        """Take a file out of a store; the file itself stays. Upstream: DELETE vector_stores/{v}/files/{f}."""
        self._check_writer(scope, store_id)
        upstream_id, _ = scope.file(file_id)
        with not_found_as("file"):
            await self._upstream.request("DELETE", f"/vector_stores/{store_id}/files/{upstream_id}")
        self._cache.clear()
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    async def holds(self, upstream_id: str) -> bool:
        """Return whether an upstream file belongs to the assistant's own tools."""
        if upstream_id in self._code_files:
            return True
        for store_id in self.store_ids:
            try:
                await self._read(f"/vector_stores/{store_id}/files/{upstream_id}", checked_store_file)
            except UpstreamMissingError:
                continue
            return True
        return False

    def _check_reader(self, scope: RequestScope, store_id: str) -> None:
        if not scope.caller.is_trusted and not self.is_exposed:
            raise ForbiddenError(
                "The assistant's knowledge is not open to this caller. Use an API key.",
                code="knowledge_not_exposed",
            )
        if store_id not in self.store_ids:
            raise not_found(_WHAT)

    def _check_writer(self, scope: RequestScope, store_id: str) -> None:
        if not scope.caller.is_trusted:
            raise ForbiddenError("Only API keys may change the assistant's knowledge.")
        self._check_reader(scope, store_id)

    async def _read(self, path: str, check: Callable[[Json], Json], query: Query | None = None) -> Json:
        key = f"{path}?{sorted((query or {}).items())}"
        now = asyncio.get_running_loop().time()
        task, until = self._cache.get(key, (None, 0.0))
        if task is None or until < now:
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            task = asyncio.create_task(read(self._upstream, path, query, check=check))
            # Otherwise asyncio logs a failure for which no reader waits any more.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._cache[key] = (task, now + _CACHE_SECONDS)
        # One reader that leaves must not cancel the read of the others.
        return await asyncio.shield(task)


def store_object(found: Json) -> Json:
    """Return the public VectorStore, with every key."""
    return {
        "id": str(found.get("id")),
        "object": "vector_store",
        "created_at": found.get("created_at") or 0,
        "name": found.get("name") or "",
        "status": found.get("status") or "completed",
        "file_counts": found.get("file_counts") or {},
        "usage_bytes": found.get("usage_bytes") or 0,
        "last_active_at": found.get("last_active_at"),
        "expires_after": found.get("expires_after"),
        "expires_at": found.get("expires_at"),
        "metadata": found.get("metadata") or {},
    }


def store_file_object(found: Json, scope: RequestScope) -> Json:
    """Return the public VectorStoreFile, with every key."""
    return {
        "id": scope.ids.file(str(found.get("id"))),
        "object": "vector_store.file",
        "created_at": found.get("created_at") or 0,
        "vector_store_id": found.get("vector_store_id"),
        "status": found.get("status") or "in_progress",
        "usage_bytes": found.get("usage_bytes") or 0,
        "last_error": found.get("last_error"),
        "attributes": found.get("attributes") or {},
        "chunking_strategy": found.get("chunking_strategy"),
    }
