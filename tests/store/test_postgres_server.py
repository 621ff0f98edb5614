"""What tests of an outage rely on: databases of their own, and a server that comes and goes."""

import psycopg
import pytest

pytestmark = pytest.mark.needs_postgres


async def _execute(url, statement):
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await connection.execute(statement)


async def _tables(url):
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return [name for (name,) in await cursor.fetchall()]


@pytest.mark.parametrize("time", [1, 2])
async def test_every_test_has_an_empty_database(postgres_url, time):
    assert await _tables(postgres_url) == []
    await _execute(postgres_url, "CREATE TABLE mine (x int)")


async def test_a_unix_socket_leads_to_the_same(postgres, postgres_url):
    await _execute(postgres_url, "CREATE TABLE mine (x int)")
    name = postgres_url.rpartition("/")[2]
    assert await _tables(
        f"postgresql:///{name}?host={postgres.folder}&port={postgres.port}&user=soloist"
    ) == ["mine"]


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_was_committed_outlives_an_outage(postgres, postgres_url, end):
    connection = await psycopg.AsyncConnection.connect(postgres_url, autocommit=True)
    await connection.execute("CREATE TABLE mine (x int)")
    await getattr(postgres, end)()
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(postgres_url)
    await postgres.start()
    assert await _tables(postgres_url) == ["mine"]
    await postgres.restart()
    assert await _tables(postgres_url) == ["mine"]


async def test_a_server_left_stopped_is_there_for_the_next_test(postgres, postgres_url):
    await postgres.kill()
