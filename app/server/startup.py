"""Report settings that cannot work, and exit."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

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
