"""Containers: where generated files live, for a while."""

import time
from dataclasses import dataclass

from app.embedded.errors import not_found
from app.embedded.ids import hex_id
from app.embedded.store.database import Database
from app.embedded.wire import Json

_FOLDER = "/mnt/data"


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A generated file."""

    body: Json
    content: bytes


class ContainerStore:
    """Reads and writes `/v1/containers/{c}/files`."""

    def __init__(self, database: Database, life_seconds: float) -> None:
        self._database = database
        self._life_seconds = life_seconds

    async def tidy(self) -> None:
        """Forget what has expired; called once, at start."""
        await self._database.write("DELETE FROM container_files WHERE expires_at <= ?", (time.time(),))

    async def add(self, filename: str, content: bytes) -> tuple[str, str]:
        """Put a file into a fresh container; container id and file id."""
        container_id, file_id, created = hex_id("cntr", 48), hex_id("cfile", 32), time.time()
        row = (
            file_id,
            container_id,
            f"{_FOLDER}/{filename}",
            int(created),
            created + self._life_seconds,
            content,
        )
        await self._database.write("INSERT INTO container_files VALUES (?, ?, ?, ?, ?, ?)", row)
        return container_id, file_id

    async def get(self, container_id: str, file_id: str) -> ContainerFile:
        """A file of a container that has not expired.

        Raises ApiError 404; an expired container is gone with all it held.
        """
        row = await self._database.row(
            "SELECT path, created_at, expires_at, content, id FROM container_files"
            " WHERE container_id = ? ORDER BY id = ? DESC LIMIT 1",
            (container_id, file_id),
        )
        if row is None or row[2] <= time.time():
            raise not_found("Container", container_id)
        if row[4] != file_id:
            raise not_found("Container file", file_id)
        body = {
            "id": file_id,
            "object": "container.file",
            "bytes": len(row[3]),
            "container_id": container_id,
            "created_at": row[1],
            "path": row[0],
            "source": "assistant",
        }
        return ContainerFile(body, row[3])

    async def delete(self, container_id: str, file_id: str) -> None:
        """Remove a file.

        Raises ApiError 404.
        """
        await self.get(container_id, file_id)
        await self._database.write("DELETE FROM container_files WHERE id = ?", (file_id,))
