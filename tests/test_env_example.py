"""`.env.example` and `Settings` tell the same: names, order, defaults, and a line of explanation each."""

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
ENTRIES = {
    found[1]: (found[2], LINES[number - 1])
    for number, line in enumerate(LINES)
    if (found := ASSIGNMENT.fullmatch(line))
}
# A written-out default would also reach docker-compose.yml, whose own is another.
LEFT_EMPTY = {"ALLOW_ANONYMOUS"}


def as_text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, str | Path):
        return str(default)
    return json.dumps(default)


def test_names_and_order_are_those_of_settings():
    assert list(ENTRIES) == [name.upper() for name in Settings.model_fields]


def test_nothing_but_comments_and_settings():
    assert [
        line for line in LINES if line and not line.startswith("#") and not ASSIGNMENT.fullmatch(line)
    ] == []


def test_no_setting_is_listed_twice():
    names = [found[1] for line in LINES if (found := ASSIGNMENT.fullmatch(line))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.upper() not in LEFT_EMPTY])
def test_default_is_written_out(name):
    value, _ = ENTRIES[name.upper()]
    assert value == as_text(Settings.model_fields[name].get_default(call_default_factory=True))


def test_copied_as_it_is_changes_nothing(monkeypatch):
    for name in ENTRIES:
        monkeypatch.delenv(name, raising=False)
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_setting_is_explained_by_the_line_above(name):
    explanation = ENTRIES[name][1]
    assert re.match(r"# \S.{9,}", explanation), f"{name} lacks its line of explanation"
