"""`python main.py COMMAND`: what the commands that do not serve print, and which ones there are."""

import json
import os
import re
import subprocess
import sys

import pytest

from bench.cluster import ROOT, Process, accepts, running, wait_for
from bench.processes import free_port
from main import main

COMMAND = [sys.executable, str(ROOT / "main.py")]


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    files = {path.stem for path in (ROOT / "app" / "server" / "commands").glob("*.py")} - {"__init__"}
    assert files == {"serve", "local", "check", "openapi", "knowledge", "tools", "report", "embedded"}
    assert files <= set(re.findall(r"^ +(\w+)", text, re.MULTILINE))


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        main(["serv"])
    assert left.value.code == 2
    assert "invalid choice: 'serv'" in capsys.readouterr().err


def test_the_document_is_the_same_whatever_the_environment_says(tmp_path):
    printed = []
    for settings in ({}, {"PORT": "eighty", "DOCS_ENABLED": "false", "WORKERS": "4"}):
        done = subprocess.run(
            [*COMMAND, "openapi"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **settings},
            capture_output=True,
            timeout=60,
            check=True,
        )
        printed.append(done.stdout)
    assert "/api/v1/chat" in json.loads(printed[0])["paths"]
    assert printed[0] == printed[1]


def test_the_embedded_upstream_serves_alone(tmp_path):
    port = free_port()
    command = [*COMMAND, "embedded", "--port", str(port), "--db", ":memory:", "--responder", "scripted"]
    with running(Process(command, tmp_path / "log", tmp_path)) as process:
        wait_for(lambda: accepts(port) or process.popen.poll() is not None, "the embedded upstream")
        assert process.popen.poll() is None, process.log.read_text()


@pytest.mark.parametrize("kind", ["a folder", "no database"])
def test_a_database_that_cannot_be_used_stops_the_start_in_one_line(tmp_path, kind):
    path = tmp_path / "embedded.db"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_text("This is a text and no database." * 100)
    environment = {"PATH": os.environ["PATH"], "EMBEDDED_DB": str(path), "PORT": str(free_port())}
    run = subprocess.run(COMMAND, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith(f"EMBEDDED_DB: {path} cannot be used")
    assert run.stderr.count("\n") == 1
