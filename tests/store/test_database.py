"""The database itself: one process on an SQLite file, migrations, and a store that cannot be used."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, make_url, text

from app.core.store.database import Database
from app.core.store.schema import VERSION_TABLE
from app.core.store.tables import METADATA
from tests.store.support import chat
from tests.support import embedded_upstream, error_of


def _engine(store_url):
    url = make_url(store_url)
    return create_engine(
        url.set(drivername="sqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg")
    )


async def test_the_migrations_make_the_tables(store_url):
    database = Database(store_url)
    await database.open()
    await database.aclose()
    engine = _engine(store_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


async def test_opening_again_changes_nothing(store_url):
    for _ in range(2):
        database = Database(store_url)
        await database.open()
        await database.aclose()


async def test_a_database_of_a_newer_release_is_left_alone(store_url):
    database = Database(store_url)
    await database.open()
    await database.aclose()
    engine = _engine(store_url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608 - a constant
    await database.open()
    await database.aclose()
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).all() == [("9999",)]  # noqa: S608
    engine.dispose()


async def test_two_processes_on_one_sqlite_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("app.core.store.database._LOCK_WAIT_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path / 'soloist.db'}"
    first, second = Database(url), Database(url)
    await first.open()
    with pytest.raises(ValueError, match="another process uses"):
        await second.open()
    await first.aclose()
    await second.open()
    await second.aclose()


async def test_a_path_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"STORE_URL: .* cannot be used"):
        await Database(f"sqlite:///{tmp_path}/file/soloist.db").open()


async def test_a_store_that_cannot_be_opened_later_is_503(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").write_text("a file where the folder should be")
    async with embedded_upstream(kind="nothing") as url, start(url=url, conversations="auto") as service:
        response = await service.client.post("chat", json={"message": "hi"})
        assert error_of(response, 503)["code"] == "store_away"
        assert response.headers["retry-after"]


async def test_a_store_in_the_default_place_needs_no_setting(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with embedded_upstream(kind="nothing") as url, start(url=url, conversations="own") as service:
        assert (await chat(service.client, "hi"))["message"] == "You said: hi"
    assert (tmp_path / "data" / "soloist.db").is_file()
