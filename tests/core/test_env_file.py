"""The file `.env`: its encodings, its malformed lines, and its syntax as docs/configuration.md has it."""

import re
from pathlib import Path

import pytest

from app.core.config import Settings
from app.core.environment import read_env_file

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"\| `(NAME=.*)` \| (`.*`|nothing) \| (`.*`|nothing|the same|refused) \|\Z")
ROWS = [
    found.groups()
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()
    if (found := ROW.match(line))
]


@pytest.fixture
def env_file(tmp_path):
    """Write a file and read it."""

    def read(data: bytes) -> dict[str, str]:
        file = tmp_path / ".env"
        file.write_bytes(data)
        return read_env_file(file)

    return read


def test_the_table_is_there():
    assert len(ROWS) >= 14


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_lines_are_read_as_the_table_says(env_file, row):
    line, value, _ = row
    expected = "" if value == "nothing" else value.strip("`").replace("␤", "\n")
    assert env_file(line.replace("␤", "\n").encode()) == {"NAME": expected}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_editors_are_read(env_file, encoding):
    text = "# 설정\r\nASSISTANT_NAME=도우미\r\nPORT=8020\r\n"
    assert env_file(text.encode(encoding)) == {"ASSISTANT_NAME": "도우미", "PORT": "8020"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("PORT=1\nASSISTANT_NAME=도우미\n".encode("cp949"), ", line 2: this is no UTF-8; save it as UTF-8"),
        ("PORT=1\n".encode("utf-16-le"), " has zero bytes in it; save it as text in UTF-8"),
        (b"\xff\xfeP", ", line 1: this is no UTF-16; save it as UTF-8"),
        (b"PORT=1\n\nOPENAI_API_KEY: sk-1\n", ", line 3: write NAME=value"),
        (b'CORS_ORIGINS=[\n  "http://a.test"\n]\n', ", line 2: write NAME=value"),
        (b"ASSISTANT_NAME='Bob's'\n", ", line 1: write NAME=value"),
        (b'# keys\nOPENAI_API_KEY="sk-1\n', ", line 2: write NAME=value"),
    ],
)
def test_others_are_refused_in_one_line(env_file, tmp_path, data, said):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / '.env'}{said}")) as caught:
        env_file(data)
    assert "\n" not in str(caught.value)
    assert "sk-1" not in str(caught.value)


def test_a_file_that_is_none_sets_nothing(tmp_path):
    assert read_env_file(None) == read_env_file(tmp_path) == read_env_file(tmp_path / "none") == {}


def test_the_settings_read_it_and_nothing_else_does(monkeypatch, tmp_path, caplog):
    (tmp_path / ".env").write_bytes("ASSISTANT_NAME=도우미\n".encode("cp949"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"\A\.env, line 1: this is no UTF-8; save it as UTF-8\Z"):
        Settings()
    (tmp_path / ".env").write_text("PORT=8020\nthis is no line\n")
    with pytest.raises(ValueError, match=r"\A\.env, line 2: write NAME=value"):
        Settings()
    assert caplog.records == []


def test_the_environment_wins_unless_it_is_empty(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("PORT=8020\nMAX_FILES=3\nASSISTANT_NAME='Say ${NAME} #1'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("max_files", "4")
    monkeypatch.delenv("ASSISTANT_NAME", raising=False)
    found = Settings()
    assert (found.port, found.max_files, found.assistant_name) == (8020, 4, "Say ${NAME} #1")
