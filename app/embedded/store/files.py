"""Uploaded files: their bytes in a folder beside the database, what is known of them in SQLite."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row
from typing import BinaryIO

from app.embedded.documents import Document
from app.embedded.errors import ApiError
from app.embedded.ids import alnum_id
from app.embedded.store.database import Database
from app.embedded.store.paging import Listing, Page, page_rows
from app.embedded.store.passages import PassageIndex
from app.embedded.wire import Json, list_page

_COLUMNS = "id, filename, purpose, bytes, created_at, expires_at"
_ALIVE = "(expires_at IS NULL OR expires_at > ?)"
_COPY_BYTES = 1024 * 1024
_INDEXED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it arrives."""

    filename: str
    purpose: str
    source: BinaryIO
    expires_in: int | None
    """Seconds."""


class FileStore:
    """Reads and writes `/v1/files`; the guide's documents are readable as files, too."""

    def __init__(
        self, database: Database, folder: Path, documents: dict[str, Document], passages: PassageIndex
    ) -> None:
        self.documents = documents
        self._database = database
        self._folder = folder
        self._passages = passages

    async def tidy(self) -> None:
        """Make the folder; remove expired files and what uploads left that a kill cut off."""
        expired = await self._database.rows("SELECT id FROM files WHERE expires_at <= ?", (time.time(),))
        for row in expired:
            await self.delete(row[0])
        rows = await self._database.rows("SELECT id FROM files")
        await asyncio.to_thread(_sweep, self._folder, {row[0] for row in rows})

    async def add(self, upload: Upload) -> Json:
        """Store an upload; the file object. The bytes are whole on disk before the row is."""
        file_id, created = alnum_id("file-"), int(time.time())
        size = await asyncio.to_thread(_save, upload.source, self._folder / file_id)
        expires = created + upload.expires_in if upload.expires_in else None
        row = (file_id, upload.filename, upload.purpose, size, created, expires)
        await self._database.write(
            f"INSERT INTO files ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - literals of this module
            row,
        )
        return _file_object(row)

    async def get(self, file_id: str) -> Json:
        """The file object.

        Raises ApiError 404.
        """
        if document := self.documents.get(file_id):
            size = len(document.text.encode())
            return _file_object((file_id, document.filename, "user_data", size, document.modified_at, None))
        row = await self._database.row(
            f"SELECT {_COLUMNS} FROM files WHERE id = ? AND {_ALIVE}",  # noqa: S608 - literals of this module
            (file_id, time.time()),
        )
        if row is None:
            raise no_such_file(file_id)
        return _file_object(row)

    def path(self, file_id: str) -> Path:
        """Where the bytes of an existing file lie."""
        document = self.documents.get(file_id)
        return document.path if document else self._folder / file_id

    async def page(self, purpose: str | None, page: Page) -> Json:
        """One page of uploads.

        Raises ApiError 400 for a bad cursor.
        """
        where, parameters = _ALIVE, [time.time()]
        if purpose is not None:
            where += " AND purpose = ?"
        listing = Listing("files", _COLUMNS, where, (*parameters, *filter(None, [purpose])))
        rows, has_more = await page_rows(self._database, listing, page)
        return list_page([_file_object(row) for row in rows], has_more=has_more)

    async def delete(self, file_id: str) -> None:
        """Remove a file, its passages and its places in vector stores.

        Raises ApiError 404; 400 for one of the guide's documents.
        """
        if file_id in self.documents:
            raise ApiError("This file is part of the offline guide and cannot be deleted.", param="file_id")
        async with self._database.transaction() as transaction:
            gone = await transaction.execute("DELETE FROM files WHERE id = ? RETURNING id", (file_id,))
            for table in ("vector_store_files", "passages"):
                await transaction.execute(f"DELETE FROM {table} WHERE file_id = ?", (file_id,))  # noqa: S608 - two literals
        if not gone:
            raise no_such_file(file_id)
        await asyncio.to_thread((self._folder / file_id).unlink, missing_ok=True)

    async def names(self, file_ids: Sequence[str]) -> dict[str, str]:
        """Names of the files that exist, by id."""
        known = {
            file_id: self.documents[file_id].filename for file_id in file_ids if file_id in self.documents
        }
        marks = ",".join("?" * len(file_ids))
        rows = await self._database.rows(
            f"SELECT id, filename FROM files WHERE id IN ({marks}) AND {_ALIVE}",  # noqa: S608 - question marks only
            (*file_ids, time.time()),
        )
        return known | {row[0]: row[1] for row in rows}

    async def ensure_indexed(self, file_id: str) -> bool:
        """Index a file's text if that has not been done; false if it holds no text."""
        document = self.documents.get(file_id)
        row = await self._database.row("SELECT indexed FROM files WHERE id = ?", (file_id,))
        if row is not None and row[0]:
            return True
        text = document.text if document else await asyncio.to_thread(_read_text, self.path(file_id))
        if text is None:
            return False
        await self._passages.add(file_id, text)
        return True


def no_such_file(file_id: str) -> ApiError:
    """404 in OpenAI's words."""
    return ApiError(f"No such File object: {file_id}", status=404, param="id")


def _file_object(row: Row | Sequence[object]) -> Json:
    file_id, filename, purpose, size, created, expires = row
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": created,
        "expires_at": expires,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


def _sweep(folder: Path, known: set[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in known:
            path.unlink(missing_ok=True)


def _save(source: BinaryIO, target: Path) -> int:
    part = target.with_suffix(".part")
    try:
        with part.open("wb") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _read_text(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > _INDEXED_BYTES:
        return None
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
