"""Brings a database to the newest schema, and tells which one it has."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

VERSION_TABLE = "soloist_schema"
_LOCK = 7_304_018_263_542_971
"""The number of the advisory lock under which one replica at a time migrates."""


async def upgrade(engine: AsyncEngine) -> None:
    """Run the migrations that the database lacks; replicas that start together take turns."""
    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.run_sync(_upgrade)


async def version_of(connection: AsyncConnection) -> str | None:
    """Return the newest migration that a database has, None for a new database."""
    return await connection.run_sync(_version)


def newest_version() -> str | None:
    """Return the newest migration of this release."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _upgrade(connection: Connection) -> None:
    # A database that a newer release has migrated is left alone: migrations only add, within a release.
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    found = _version(connection)
    if found is None or found in known:
        command.upgrade(_config(connection=connection), "head")


def _version(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _config(**attributes: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes.update(attributes)
    return config
