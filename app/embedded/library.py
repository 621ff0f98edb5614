"""What responders may reach: attached files, vector stores, a container for what they make."""

from collections.abc import Sequence
from dataclasses import replace

from app.embedded.responders.base import Hit
from app.embedded.store.containers import ContainerStore
from app.embedded.store.files import FileStore
from app.embedded.store.passages import PassageIndex
from app.embedded.store.vector_stores import VectorStores


class Library:
    """Implements the responders' `Resources` over the stores."""

    def __init__(
        self, files: FileStore, containers: ContainerStore, stores: VectorStores, passages: PassageIndex
    ) -> None:
        self._files = files
        self._containers = containers
        self._stores = stores
        self._passages = passages

    async def search_files(
        self, query: str, file_ids: Sequence[str], vector_store_ids: Sequence[str], limit: int
    ) -> list[Hit]:
        """Passages that match, best first."""
        names = await self._files.names(file_ids)
        for file_id in names:
            await self._files.ensure_indexed(file_id)
        stored = await self._stores.file_ids(vector_store_ids) if vector_store_ids else {}
        hits = await self._passages.search(query, [*names, *stored], limit)
        names |= await self._files.names([hit.file_id for hit in hits])
        return [replace(hit, filename=names.get(hit.file_id, "")) for hit in hits]

    async def filenames(self, file_ids: Sequence[str]) -> dict[str, str]:
        """Names of the files that exist, by id."""
        return await self._files.names(file_ids)

    async def make_file(self, filename: str, content: bytes) -> tuple[str, str]:
        """Put a file into a fresh container; container id and file id."""
        return await self._containers.add(filename, content)
