"""The one SQLite connection: schema, reads, and writes that are committed before they return."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import Row
from typing import Any

import aiosqlite

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, metadata BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, id TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS items_by_id ON items (conversation_id, id);
CREATE INDEX IF NOT EXISTS items_by_seq ON items (conversation_id, seq);
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, conversation_id TEXT, status TEXT NOT NULL,
    streamed INTEGER NOT NULL, body BLOB NOT NULL, input BLOB NOT NULL, events BLOB);
CREATE INDEX IF NOT EXISTS responses_by_conversation ON responses (conversation_id);
CREATE INDEX IF NOT EXISTS responses_by_age ON responses (created_at);
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER,
    indexed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS container_files (
    id TEXT PRIMARY KEY, container_id TEXT NOT NULL, path TEXT NOT NULL, created_at INTEGER NOT NULL,
    expires_at REAL NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS vector_stores (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS vector_store_files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, vector_store_id TEXT NOT NULL, file_id TEXT NOT NULL,
    status TEXT NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS vector_store_files_by_id ON vector_store_files (vector_store_id, file_id);
CREATE VIRTUAL TABLE IF NOT EXISTS passages USING fts5 (
    body, file_id UNINDEXED, tokenize = 'porter unicode61');
"""
_PRAGMAS = ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000")

Parameters = Sequence[Any]


class Database:
    """Autocommit connection: a lone write is durable when `write` returns, several with `transaction`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._writer = asyncio.Lock()

    async def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of a query."""
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a query."""
        found = await self.rows(sql, parameters)
        return found[0] if found else None

    async def write(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """One statement, committed; the rows of its RETURNING clause."""
        async with self._writer:
            return await self.rows(sql, parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Several statements that are committed together or not at all."""
        async with self._writer:
            await self.rows("BEGIN IMMEDIATE")
            try:
                yield Transaction(self._connection)
            except BaseException:
                await self.rows("ROLLBACK")
                raise
            await self.rows("COMMIT")


class Transaction:
    """The statements of one open transaction."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """One statement; the rows of its RETURNING clause."""
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def execute_many(self, sql: str, parameters: Iterable[Parameters]) -> None:
        """One statement for each set of parameters."""
        await self._connection.executemany(sql, parameters)


@asynccontextmanager
async def open_database(path: str) -> AsyncIterator[Database]:
    """Open or create the file (and its folder) with WAL, so that a killed process loses nothing committed."""
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for pragma in _PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
        await connection.executescript(_SCHEMA)
        yield Database(connection)
