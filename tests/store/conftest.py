"""A real PostgreSQL for the tests of the store."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.store.postgres_server import PostgresServer, fresh_database, postgres_server
from tests.support import Service, embedded_upstream


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of this test process; a test that stops it starts it again."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database of the test's own."""
    async with fresh_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store, once on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'soloist.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


Begin = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture(params=["upstream", "own"])
async def keeper(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str]]:
    """Who keeps the conversations, and the upstream's URL."""
    kind = {} if request.param == "upstream" else {"kind": "nothing"}
    async with embedded_upstream(**kind) as url:
        yield request.param, url


@pytest.fixture
def begin(start: Start, keeper: tuple[str, str], store_url: str) -> Begin:
    """Start the service with a store; the rest are settings."""
    kept_by, url = keeper

    @asynccontextmanager
    async def begun(**settings: Any) -> AsyncIterator[Service]:
        defaults = {"url": url, "is_served": True, "conversations": kept_by, "store_url": store_url}
        async with start(**(defaults | settings)) as service:
            yield service

    return begun
