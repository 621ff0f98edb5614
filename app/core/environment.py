"""Where settings come from: the environment, and a file `.env`; the environment wins.

Values are read as people write them: blanks and pairs of quotes round them go, and an empty one sets nothing.
The file's quotes and comments are those of docker compose; `$` is an ordinary character in it.
docs/configuration.md shows them in a table, after
https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/.
"""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dotenv.parser import parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.core.setting_types import tidied
from app.utils.text_files import read_text

# The compilers of conda export their platform as HOST.
_PLATFORM = re.compile(r"(x86_64|aarch64|arm64|powerpc64le|s390x)-[a-z]+")
ENV_FILE = Path(".env")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Instructions stay as they are written, quotes included.
_PROSE = {"assistant_instructions"}


class EnvironmentSource(PydanticBaseSettingsSource):
    """The values of a class of settings as text; its types read lists and numbers out of them."""

    def __init__(self, settings_cls: type[BaseSettings], file: Path | None) -> None:
        super().__init__(settings_cls)
        self._found = {**filled(read_env_file(file)), **filled(environment())}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return a field's value or None, its name, and that no JSON is to be decoded.

        Raises `ValueError` for bytes that are no UTF-8, which Python keeps as half surrogates.
        """
        found = self._found.get(field_name)
        if found and re.search("[\ud800-\udfff]", found):
            raise ValueError(f"{field_name.upper()} is no text in UTF-8; set it anew")
        if found is None or field_name in _PROSE:
            return found, field_name, False
        return _as_listed(tidied(found), field.annotation), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values that are set, by the names of their fields."""
        fields = self.settings_cls.model_fields
        values = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class EnvironmentSettings(BaseSettings):
    """The base of classes whose fields are read from `EnvironmentSource`."""

    model_config = SettingsConfigDict(
        # Stands for ENV_FILE: pydantic would read a file that it knows of first, and fail in its own words.
        env_file="",
        extra="ignore",
        frozen=True,
        # pydantic's own text of an error would show a secret; `lines_of` masks it.
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replace pydantic's readers of the environment and of the file."""
        file = dotenv_settings.env_file if isinstance(dotenv_settings, DotEnvSettingsSource) else None
        path = Path(file) if isinstance(file, str | Path) and file else None
        return init_settings, EnvironmentSource(settings_cls, ENV_FILE if file == "" else path)


def environment() -> dict[str, str]:
    """Return the environment without the HOST that conda's compilers set."""
    return {name: value for name, value in os.environ.items() if name != "HOST" or not is_platform(value)}


def is_platform(host: str) -> bool:
    """Return whether a HOST is the name of a platform, such as x86_64-conda-linux-gnu."""
    return bool(_PLATFORM.match(host))


def filled(found: Mapping[str, str]) -> dict[str, str]:
    """Return the values that are not empty, by their names in lower case."""
    return {name.lower(): value for name, value in found.items() if tidied(value)}


def read_env_file(file: Path | None) -> dict[str, str]:
    """Return what a file sets; nothing where there is none.

    Raises `ValueError`, in one line, for a file that is no text in UTF-8 or UTF-16, or has a malformed line.
    """
    if file is None or not file.exists() or file.is_dir():
        return {}
    values = {}
    for found in parse_stream(io.StringIO(read_text(file))):
        # A bare name is what compose takes from its own environment.
        if found.error or (found.value is None and found.key and not _NAME.match(found.key)):
            line = found.original.line + _lines_before(found.original.string)
            raise ValueError(
                f"{file}, line {line}: write NAME=value; nothing but a # comment may follow a closing quote"
            )
        if found.key and found.value is not None:
            values[found.key] = found.value
    return values


def _lines_before(text: str) -> int:
    """Return how many line ends stand before the first word of a text."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _as_listed(text: str, annotation: Any) -> str:
    """Return the spelling of a value that a field lists, as LOG_LEVEL=INFO means info."""
    kinds = [annotation, *get_args(annotation)]
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return next((choice for choice in choices if choice.lower() == text.lower()), text)
