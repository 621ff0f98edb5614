"""How `./run.sh compat` reports: one client's failure is told and stops no other."""

import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.compat import __main__ as compat

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = tomllib.loads((ROOT / "tests/compat/clients.toml").read_text())["client"]


def test_every_client_has_its_programs():
    programs = {path.name for path in (ROOT / "tests/compat/programs").iterdir() if path.is_file()}
    used = {name for client in CLIENTS for name in client["programs"]}
    assert used == programs - {"report.py", "report.mjs"}
    assert len({client["name"] for client in CLIENTS}) == len(CLIENTS)


def test_only_the_newest_is_not_pinned():
    loose = {
        client["name"]
        for client in CLIENTS
        if not all(
            "==" in each or "@" in each[1:] or "<" in each for each in client.get("pip") or client["npm"]
        )
    }
    assert loose == {"openai-python newest"}


def test_a_programs_lines_become_a_row():
    outcome = compat.Outcome("client 1")
    outcome.read(
        "version 1.2.3\nok thread_and_run\nnoise\nFAIL chart AssertionError: none\nskip stream no tool\n"
    )
    assert compat.table([outcome]).splitlines()[2:] == [
        "| client 1 | 1.2.3 | thread and run | chart; not run: stream no tool |"
    ]


@pytest.fixture
def two_clients(monkeypatch, tmp_path):
    """A client that cannot be installed, and one whose program prints a line and crashes."""

    @contextmanager
    def serving():
        yield "http://service.test/api/v1"

    def installed(client):
        if client["name"] == "broken":
            raise subprocess.TimeoutExpired("npm", 600)
        return tmp_path

    monkeypatch.setattr(compat, "serving", serving)
    monkeypatch.setattr(compat, "installed", installed)
    monkeypatch.setattr(compat, "HERE", tmp_path)
    (tmp_path / "programs").mkdir()
    crash = "import sys; print('ok first ' + sys.argv[1]); sys.exit('crashed')"
    (tmp_path / "programs" / "crash.py").write_text(crash)
    monkeypatch.setattr(compat, "missing_tool", lambda client: "")
    rows = [{"name": name, "pip": [], "programs": ["crash.py"]} for name in ("broken", "crashing")]
    monkeypatch.setattr(compat, "clients", lambda names: rows)


def test_one_failing_client_does_not_stop_the_others(two_clients, monkeypatch, tmp_path, capsys):
    document = tmp_path / "COMPATIBILITY.md"
    document.write_text(f"# Title\n\n{compat._MARK}\n\nold\n")
    monkeypatch.setattr(compat, "DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["compat", "--write"])
    assert compat.main() == 1
    printed = capsys.readouterr().out
    assert "everything TimeoutExpired" in printed
    assert "crash.py ended with 1: crashed" in printed
    written = document.read_text()
    assert written.startswith(f"# Title\n\n{compat._MARK}\n\nRun on 20")
    assert "| crashing | – | first http://service.test/api/v1 | everything |" in written
    assert "old" not in written


def test_a_part_of_the_table_is_not_written(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compat", "--write", "AI SDK"])
    with pytest.raises(SystemExit) as left:
        compat.main()
    assert left.value.code == 2
    assert "name no clients" in capsys.readouterr().err


def test_the_weekly_job_runs_the_command():
    job = yaml.safe_load((ROOT / ".github/workflows/compatibility.yml").read_text())["jobs"]["clients"]
    assert "./run.sh compat --write" in [step.get("run") for step in job["steps"]]
