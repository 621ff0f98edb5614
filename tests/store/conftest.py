"""A real PostgreSQL for the tests of the store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.store.postgres_server import PostgresServer, fresh_database, postgres_server


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
