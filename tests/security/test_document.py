"""docs/security.md names only tests and settings that exist."""

import re
from pathlib import Path

from app.core.config import Settings
from main import create_app
from tests.support import make_settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_named_test_exists():
    named = set(re.findall(r"`(tests/[\w/.]+)`", TEXT))
    assert len(named) >= 9
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_named_setting_exists():
    named = set(re.findall(r"`([A-Z][A-Z0-9]+_[A-Z0-9_]+)[=`]", TEXT))
    assert len(named) >= 20
    assert named - {name.upper() for name in Settings.model_fields} == set()


def test_every_risk_of_the_list_is_there():
    assert [int(number) for number in re.findall(r"(?m)^\| API(\d+) ", TEXT)] == list(range(1, 11))


def test_every_name_in_a_path_is_a_parameter():
    for path, operations in create_app(make_settings()).openapi()["paths"].items():
        for operation in operations.values():
            named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), (path, operation["operationId"])
