"""Report settings that cannot work, and exit."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.config import Settings

_BAD_SETTINGS = 2


@contextmanager
def settings_errors_told() -> Iterator[None]:
    """Write the block's `ValidationError` or `ValueError` to standard error, and exit with status 2."""
    try:
        yield
    except ValidationError as exc:
        for error in exc.errors():
            name = ".".join(map(str, error["loc"])).upper()
            sys.stderr.write(f"{name + ': ' if name else ''}{error['msg'].removeprefix('Value error, ')}\n")
        sys.exit(_BAD_SETTINGS)
    except ValueError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(_BAD_SETTINGS)


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


class ProcessCount(BaseSettings):
    """Variables that ask other servers for several processes; refused, as they have no effect here."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

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
