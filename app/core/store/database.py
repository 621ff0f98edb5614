"""Access to the store: one transaction at a time for each call, again after a lost connection."""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import ColumnElement, Double, Table, bindparam, cast, event, extract, func, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.store.schema import upgrade, version_of
from app.core.upstream.errors import UpstreamError

_log = structlog.get_logger(__name__)
T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_CONNECTIONS = 10
_ATTEMPT_SECONDS = 5.0
_WAIT_SECONDS = 15.0
"""How long a call waits for a database that is away."""

_LOCK_WAIT_SECONDS = 5.0
"""How long a start waits for the process before it to leave the SQLite file."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class StoreAwayError(UpstreamError):
    """The database does not answer."""

    status_code = 503
    type = "server_error"
    code = "store_away"

    def __init__(self) -> None:
        super().__init__(
            "The service's database cannot be reached. Retry shortly.", headers={"retry-after": "5"}
        )


class Database:
    """The database at `url`, opened on first use or by `open`.

    Raises `ValueError` on opening if the URL cannot be used, which is the operator's to mend.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._opening = asyncio.Lock()
        self._engine: AsyncEngine | None = None
        self._file_lock: sqlite3.Connection | None = None
        self.is_away = False

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @property
    def is_open(self) -> bool:
        """Whether the tables are there."""
        return self._engine is not None

    def exists(self) -> bool:
        """Return whether an SQLite file is there."""
        return self.is_sqlite and Path(self.url.database or "").is_file()

    async def version(self) -> str | None:
        """Return the newest migration that the database has, None for a new one; nothing is changed.

        Raises `ValueError`, in one line, if the database cannot be read.
        """
        if self.is_sqlite and not self.exists():
            _check_creatable(Path(self.url.database or ""))
            return None
        try:
            return await self._look(version_of)
        except (DBAPIError, TimeoutError, OSError) as exc:
            cause = str(getattr(exc, "orig", None) or exc) or type(exc).__name__
            raise ValueError(f"STORE_URL: the database cannot be read: {cause.splitlines()[0]}") from exc

    async def peek(self, work: Work[T]) -> T | None:
        """Run `work`, which only reads, beside whoever has an SQLite file; None if that cannot be read."""
        if self.is_sqlite and not self.exists():
            return None
        try:
            return await self._look(work)
        except (DBAPIError, TimeoutError, OSError):
            return None

    async def open(self) -> None:
        """Bring the tables up to date; raises `ValueError` or `StoreAwayError`."""
        async with self._opening:
            if self._engine is not None:
                return
            if self.is_sqlite:
                self._file_lock = await _locked(self.url.database or "")
            engine = _engine(self)
            try:
                await self._until_there(lambda: upgrade(engine))
            except BaseException:
                await engine.dispose()
                self._unlock()
                raise
            self._engine = engine

    async def run(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own and return its result.

        After a lost connection it runs again, also where the commit may have happened: `work` must be able to
        tell, or do the same twice. Raises `StoreAwayError` if the database is away for over 15 seconds.
        """
        engine = self._engine or await self._opened()

        async def attempt() -> T:
            async with engine.begin() as connection:
                return await work(connection)

        return await self._until_there(attempt)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        self._unlock()

    def now(self) -> ColumnElement[float]:
        """Return the database's clock, in unix seconds: the clocks of replicas may differ."""
        if self.is_sqlite:
            # Read when a statement is carried out, which may have been made long before.
            return bindparam(None, callable_=time.time, type_=Double)
        return cast(extract("epoch", func.clock_timestamp()), Double)

    def insert(self, table: Table) -> Any:
        """Return an insert that knows `ON CONFLICT`, which only the dialects' own have."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def _look(self, work: Work[T]) -> T:
        """Run `work`, which only reads, once, on a connection of its own: the database need not be open."""
        engine = _engine(self)
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS), engine.connect() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    async def _opened(self) -> AsyncEngine:
        """Open the database for a request, which is not told what its operator has to mend."""
        try:
            await self.open()
        except ValueError as exc:
            _log.error("store_unusable", reason=str(exc))
            raise StoreAwayError from exc
        if self._engine is None:
            raise StoreAwayError
        return self._engine

    async def _until_there(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + _WAIT_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    found = await attempt()
            except (DBAPIError, PoolTimeoutError, TimeoutError, OSError) as exc:
                if not _is_passing(exc):
                    raise
                self._tell(exc)
                if time.monotonic() + pause > deadline:
                    raise StoreAwayError from exc
            else:
                if self.is_away:
                    self.is_away = False
                    _log.warning("store_back")
                return found
            # Spread out, as all requests wait for the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _tell(self, exc: Exception) -> None:
        """Log a failure when it begins, by its kind: its text may quote rows."""
        if not self.is_away:
            self.is_away = True
            cause = getattr(exc, "orig", None) or exc
            _log.error("store_away", error=type(cause).__name__)

    def _unlock(self) -> None:
        if self._file_lock is not None:
            self._file_lock.close()
            self._file_lock = None


def _is_passing(exc: Exception) -> bool:
    """Return whether a failure is the connection's and not the statement's."""
    is_of_statement = isinstance(exc, DBAPIError) and not exc.connection_invalidated
    return not is_of_statement or isinstance(exc, OperationalError | InterfaceError)


def _engine(database: Database) -> AsyncEngine:
    if database.is_sqlite:
        # One connection: SQLite has one writer, and waiting here is fairer than its busy timeout.
        url = database.url.set(drivername="sqlite+aiosqlite")
        engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=_WAIT_SECONDS)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        return engine
    url = database.url.set(drivername="postgresql+psycopg")
    return create_async_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_ATTEMPT_SECONDS,
        connect_args={"connect_timeout": int(_ATTEMPT_SECONDS)},
    )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _check_creatable(path: Path) -> None:
    """Raise `ValueError` for an SQLite file that cannot be made."""
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"STORE_URL: {path} cannot be used: {folder} cannot be written to.")


async def _locked(path: str) -> sqlite3.Connection | None:
    """Lock an SQLite file for this process, until the connection closes or the process ends.

    Raises `ValueError` if another process has it, or if it cannot be used.
    """
    if path in {"", ":memory:"}:
        return None
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            return _try_lock(path)
        except (sqlite3.Error, OSError) as exc:
            if "locked" not in str(exc):
                raise ValueError(f"STORE_URL: {path} cannot be used: {exc}. Name another file.") from exc
            if time.monotonic() > deadline:
                raise ValueError(
                    f"STORE_URL: another process uses {path}. Several replicas need one PostgreSQL: "
                    "STORE_URL=postgresql://…; see docs/operations.md"
                ) from exc
        await asyncio.sleep(_FIRST_PAUSE_SECONDS)


def _try_lock(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # A file beside it: a lock on the database itself would also keep readers out, such as `--check`.
    lock = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            lock.close()
        raise
    return lock
