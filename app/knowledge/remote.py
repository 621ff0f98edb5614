"""The upstream side: the files of one vector store; their attributes hold path and hash."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.core.upstream.errors import (
    UpstreamBusyError,
    UpstreamMalformedError,
    UpstreamMissingError,
    UpstreamUnreachableError,
)
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed, read
from app.knowledge.folder import LocalFile, chunks_of
from app.translate.events import Json
from app.translate.upstream_types import checked_file, checked_page, checked_store, checked_store_file
from app.utils.filenames import media_type_of

T = TypeVar("T")
PATH, SHA256 = "path", "sha256"
_ASSISTANT = "soloist_assistant"
_PAGE = 100
_TRIES = 6
_READY_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that this command has put into the store."""

    file_id: str
    path: str
    sha256: str
    status: str
    error_code: str | None = None


class RemoteStore:
    """One vector store; methods raise `UpstreamError`."""

    def __init__(self, upstream: Upstream, store_id: str) -> None:
        self._upstream = upstream
        self.store_id = store_id

    async def files(self) -> list[StoredFile]:
        """Return the store's files with a path and a hash; the others are not from this command."""
        path = f"/vector_stores/{self.store_id}/files"
        return [found async for raw in pages(self._upstream, path) if (found := _stored(raw))]

    async def add(self, file: LocalFile, sha256: str) -> StoredFile:
        """Upload a file, put it into the store and wait until it can be searched."""
        filename = file.source.name
        fields, kind = {"purpose": "assistants"}, media_type_of(filename)
        uploaded = await _patiently(
            lambda: self._upstream.upload(
                "/files", fields=fields, filename=filename, content_type=kind, chunks=chunks_of(file)
            )
        )
        file_id = str(parsed(uploaded, checked_file)["id"])
        body = {"file_id": file_id, "attributes": {PATH: file.path, SHA256: sha256}}
        path = f"/vector_stores/{self.store_id}/files"
        try:
            await _patiently(lambda: self._upstream.request("POST", path, body=body))
        except BaseException:
            # No later run would find a file that is in no store.
            await self._delete(f"/files/{file_id}")
            raise
        return await self.ready(file_id)

    async def ready(self, file_id: str) -> StoredFile:
        """Wait until the upstream has processed a file or failed to, for fifteen minutes at most."""
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        pause = 0.1
        while True:
            raw = await read(
                self._upstream, f"/vector_stores/{self.store_id}/files/{file_id}", check=checked_store_file
            )
            found = _stored(raw)
            if found is None:
                raise UpstreamMalformedError("The file has lost its attributes.")
            if found.status != "in_progress" or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(pause)
            pause = min(pause * 2, 3.0)

    async def remove(self, stored: StoredFile) -> None:
        """Remove a file from the store and delete it; it may be gone already."""
        await self._delete(f"/vector_stores/{self.store_id}/files/{stored.file_id}")
        await self._delete(f"/files/{stored.file_id}")

    async def _delete(self, path: str) -> None:
        try:
            await _patiently(lambda: self._upstream.request("DELETE", path))
        except UpstreamMissingError:
            return


async def find_store(upstream: Upstream, assistant_id: str) -> str | None:
    """Return the id of the store that an earlier run made for the assistant, or None."""
    async for raw in pages(upstream, "/vector_stores"):
        if (raw.get("metadata") or {}).get(_ASSISTANT) == assistant_id:
            return str(raw["id"])
    return None


async def make_store(upstream: Upstream, assistant_id: str, name: str) -> str:
    """Make a store for the assistant and return its id."""
    body = {"name": f"Knowledge of {name}", "metadata": {_ASSISTANT: assistant_id}}
    return str(parsed(await upstream.request("POST", "/vector_stores", body=body), checked_store)["id"])


async def pages(upstream: Upstream, path: str) -> AsyncIterator[Json]:
    """Yield all objects of a list."""
    after: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": _PAGE, "order": "asc"}
        page = await read(upstream, path, query | ({"after": after} if after else {}), check=checked_page)
        data = page["data"]
        for each in data:
            yield each
        if not data or not page.get("has_more"):
            return
        after = str(data[-1].get("id"))


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call, and repeat it while the upstream is busy or away, unless it may have taken effect."""
    for attempt in range(_TRIES - 1):
        try:
            return await call()
        except (UpstreamBusyError, UpstreamUnreachableError) as exc:
            if exc.headers.get("x-should-retry") == "false":
                raise
            await asyncio.sleep(min(float(exc.headers.get("retry-after", 1)), 30.0) if attempt else 0.5)
    return await call()


def _stored(raw: Json) -> StoredFile | None:
    attributes = raw.get("attributes") or {}
    path, sha256 = attributes.get(PATH), attributes.get(SHA256)
    if not isinstance(path, str) or not isinstance(sha256, str):
        return None
    error = raw.get("last_error")
    code = str(error.get("code")) if isinstance(error, dict) else None
    return StoredFile(str(raw.get("id")), path, sha256, str(raw.get("status") or "in_progress"), code)
