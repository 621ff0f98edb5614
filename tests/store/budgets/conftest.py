"""Ledgers of every kind, and a Redis that keeps what it is told."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from app.core.budgets.ledger import Ledger, MemoryLedger
from app.core.budgets.redis_ledger import RedisLedger
from app.core.budgets.rules import Day
from app.core.budgets.stored_ledger import StoredLedger
from app.core.limits.shared_redis import SharedRedis
from app.core.store.database import Database
from tests.security.redis_server import RedisServer, redis_server

KEEPS = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")
DAY = Day("2026-11-30", 2_000_000_000)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path, *KEEPS) as server:
        yield server


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.needs_redis),
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.needs_postgres),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where accounts are kept: `memory`, `redis`, or the URL of a store."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite:///{tmp_path / 's.db'}" if request.param == "sqlite" else str(request.param)


@pytest.fixture
async def ledgers(place: str, tmp_path: Path) -> AsyncIterator[Sequence[Ledger]]:
    """Three replicas' ledgers over one place; in memory and SQLite one that all use."""
    if place == "memory":
        yield [MemoryLedger()] * 3
    elif place == "redis":
        async with redis_server(tmp_path, *KEEPS) as server:
            clients = [SharedRedis(server.url) for _ in range(3)]
            found = [RedisLedger(client, lambda: DAY) for client in clients]
            for ledger in found:
                await ledger.beat()
            yield found
            for client in clients:
                await client.aclose()
    else:
        is_sqlite = place.startswith("sqlite")
        databases = [Database(place) for _ in range(1 if is_sqlite else 3)]
        for database in databases:
            await database.open()
        yield [StoredLedger(database) for database in databases] * (3 if is_sqlite else 1)
        for database in databases:
            await database.aclose()
