"""The local side: the files of a folder, and their hashes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

_READ_BYTES = 256 * 1024
MAX_PATH_CHARS = 512  # the upstream's limit on the value of an attribute


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the folder; `path` is relative, with slashes, and identifies the file upstream."""

    path: str
    source: Path
    size: int


def scan(folder: Path) -> tuple[list[LocalFile], list[str]]:
    """Return the folder's files in the order of their paths, and the paths that are left out.

    Left out are empty files, too long paths, and links that lead outside. Hidden files and folders are
    skipped. Raises `OSError` if the folder cannot be read.
    """
    root = folder.resolve(strict=True)
    found, left_out = [], []
    for source in sorted(_files(root)):
        path, size = source.relative_to(root).as_posix(), source.stat().st_size
        if size == 0 or len(path) > MAX_PATH_CHARS or not source.resolve().is_relative_to(root):
            left_out.append(path)
        else:
            found.append(LocalFile(path, source, size))
    return found, left_out


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


async def sha256_of(file: LocalFile) -> str:
    """Return the hash of a file's content in hexadecimal."""
    return await asyncio.to_thread(_sha256, file.source)


def _sha256(source: Path) -> str:
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


async def chunks_of(file: LocalFile) -> AsyncIterator[bytes]:
    """Yield a file's content in pieces of 256 KiB."""
    stream = await asyncio.to_thread(file.source.open, "rb")
    try:
        while chunk := await asyncio.to_thread(stream.read, _READ_BYTES):
            yield chunk
    finally:
        await asyncio.to_thread(stream.close)
