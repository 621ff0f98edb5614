"""Report settings that cannot work, and exit."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from app.core.assistant import load_assistant
from app.core.config import Settings
from app.core.environment import EnvironmentSettings
from app.core.logging import configure_logging
from app.core.observability.run_metrics import load_prices
from app.core.setting_errors import lines_of
from app.core.ui_file import load_ui

_BAD_SETTINGS = 2


@contextmanager
def settings_errors_told() -> Iterator[None]:
    """Write the block's `ValidationError` or `ValueError` to standard error, and exit with status 2."""
    try:
        yield
    except ValidationError as exc:
        sys.stderr.writelines(f"{line}\n" for line in lines_of(exc, Settings))
        sys.exit(_BAD_SETTINGS)
    except ValueError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(_BAD_SETTINGS)


def check_usable(settings: Settings, *checks: Callable[[Settings], object]) -> None:
    """Try the files that settings name, and `checks`; raises a `ValueError` with a line for each failure."""
    problems = []
    files: list[Callable[[Settings], object]] = [
        load_assistant,
        lambda found: load_prices(found.prices_file),
        lambda found: load_ui(found.ui_file),
    ]
    for check in (configure_logging, *files, *checks):
        try:
            check(settings)
        except ValueError as exc:
            problems.append(str(exc))
    if problems:
        raise ValueError("\n".join(problems))


def check_database(settings: Settings) -> None:
    """Raise `ValueError`, in one line, for an EMBEDDED_DB that cannot be used though it is needed."""
    if settings.upstream_kind != "embedded" or settings.embedded_db == ":memory:":
        return
    path = Path(settings.embedded_db)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL").fetchone()
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.Error, OSError) as exc:
        raise ValueError(
            f"EMBEDDED_DB: {path} cannot be used: {exc}. Delete it, or name another file."
        ) from exc


def check_store(settings: Settings) -> None:
    """Raise `ValueError`, in one line, for an SQLite file of STORE_URL that cannot be used."""
    if settings.store_url is None or not settings.store_location.startswith("sqlite"):
        return
    # Imported here: a service that stores nothing need not load SQLAlchemy.
    from app.core.store.database import Database

    asyncio.run(Database(settings.store_location).version())


class ProcessCount(EnvironmentSettings):
    """Variables that ask other servers for several processes; refused, as they have no effect here."""

    workers: int = 1
    web_concurrency: int = 1

    @model_validator(mode="after")
    def _one(self) -> Self:
        for name, count in self:
            if count > 1:
                raise ValueError(
                    f"{name.upper()}={count}: a port is served by one process. Leave it out, and run "
                    "replicas behind one port: docs/operations.md says how with nginx, compose and Kubernetes"
                )
        return self
