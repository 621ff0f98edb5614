"""The process itself: `check` in sentences, one process a port, and an end in order on every signal."""

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from unittest.mock import patch

import httpx2
import pytest

from bench.cluster import ROOT, Process, accepts, running, start_upstream, wait_for, wait_until_ready
from bench.processes import free_port
from main import main
from tests.support import frames, own_logging

COMMAND = [sys.executable, str(ROOT / "main.py")]
# Whoever runs the tests may ignore SIGHUP, as `nohup` does, or SIGINT, as shells do for background jobs.
_RESET_SIGNALS = """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
WITH_DEFAULT_SIGNALS = [sys.executable, "-c", _RESET_SIGNALS, *COMMAND]
# SIGTERM is raised again once all is closed, as the one who sent it expects.
ENDED = -signal.SIGTERM


def check(tmp_path, *spelled, **settings):
    """Exit status and lines of `python main.py check`, without the start of a process."""
    environment = {"EMBEDDED_DB": str(tmp_path / "e.db"), **settings}
    out, err = io.StringIO(), io.StringIO()
    with (
        own_logging(),
        patch.dict(os.environ, environment, clear=True),
        # Where a .env would be looked for.
        chdir(tmp_path),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            status: str | int | None = main(spelled or ["check"])
        except SystemExit as exc:
            status = int(exc.code or 0)
    return status, (out.getvalue() or err.getvalue()).splitlines()


def check_in_a_process(tmp_path, *spelled):
    environment = {"PATH": os.environ["PATH"], "EMBEDDED_DB": str(tmp_path / "e.db")}
    done = subprocess.run(
        [*COMMAND, *spelled],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout or done.stderr).splitlines()


@pytest.mark.parametrize("spelled", ["check", "--check"])
def test_check_says_that_all_is_well(tmp_path, spelled):
    status, lines = check_in_a_process(tmp_path, spelled)
    assert status == 0
    assert "ok: The upstream keeps conversations." in lines
    assert any("No key is set" in line for line in lines)
    assert not [line for line in lines if line.startswith("error")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
            "The upstream (custom) cannot be reached: nothing listens",
        ),
        ({"RATE_LIMIT_STORAGE": "redis://127.0.0.1:9/0"}, "Redis at RATE_LIMIT_STORAGE does not answer"),
    ],
)
def test_check_says_what_is_wrong(tmp_path, settings, said):
    status, lines = check(tmp_path, **settings)
    assert status == 1
    assert any(line.startswith(f"error: {said}") for line in lines)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PORT": "eighty"}, "PORT='eighty': write a whole number"),
        ({"AUTH_MODE": "api_key", "API_KEYS": "a=key"}, "SECRET_KEYS"),
        ({"PRICES_FILE": "none.json"}, "PRICES_FILE='none.json': names no file"),
        ({"ASSISTANT_FILE": "none.json"}, "ASSISTANT_FILE='none.json': names no file"),
        ({"LOG_FILE": "/proc/app.log"}, "LOG_FILE=/proc/app.log cannot be written"),
        ({"WORKERS": "4"}, "WORKERS=4: a port is served by one process."),
        ({"WEB_CONCURRENCY": "2"}, "run replicas behind one port"),
    ],
)
def test_check_names_settings_that_cannot_work(tmp_path, settings, said):
    status, lines = check(tmp_path, **settings)
    assert status == 2
    assert said in lines[0]
    assert len(lines) == 1


def test_check_knows_a_refused_key_and_a_model_at_its_end(tmp_path):
    port = free_port()
    with running(start_upstream(tmp_path, port, "--api-key", "right", "--shutdown-date", "2020-01-01")):
        there = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "ASSISTANT_MODEL": "soloist-scripted"}
        status, lines = check(tmp_path, **there, OPENAI_API_KEY="wrong")
        assert status == 1
        assert (
            "error: The upstream (custom) refuses the credentials (invalid_api_key): check OPENAI_API_KEY."
            in lines
        )
        status, lines = check(tmp_path, **there, OPENAI_API_KEY="right")
        assert status == 0
        assert any("has been switched off" in line for line in lines)
        assert "right" not in "".join(lines)


@pytest.mark.parametrize(
    ("limits", "max_streams", "allowed", "said"),
    [
        (("256", "4096"), "1000", 3_000, None),
        (("256", "4096"), "10000", 4_096, {"allowed": 4_096, "streams": 1_548}),
        (("3500", "4096"), "1000", 3_500, None),
    ],
)
def test_it_takes_as_many_open_files_as_its_streams_need(tmp_path, limits, max_streams, allowed, said):
    port = free_port()
    shell = f'ulimit -Sn {limits[0]}; ulimit -Hn {limits[1]}; exec "$0" "$@"'
    command = ["sh", "-c", shell, sys.executable, str(ROOT / "main.py")]
    settings = {"EMBEDDED_DB": str(tmp_path / "e.db"), "LOG_FORMAT": "json", "MAX_STREAMS": max_streams}
    with running(Process(command, tmp_path / "log", tmp_path, PORT=str(port), **settings)) as process:
        wait_until_ready(process, port)
        assert resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE) == (allowed, int(limits[1]))
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    told = [line for line in lines if line["event"] == "few_file_descriptors"]
    assert len(told) == bool(said)
    assert not said or said.items() <= told[0].items()


def begin(command, folder, port, **settings):
    """Start the service where no `.env` lies."""
    defaults = {"EMBEDDED_RESPONDER": "scripted", "EMBEDDED_DB": str(folder / "e.db"), "LOG_FORMAT": "json"}
    defaults |= {"SHUTDOWN_GRACE_SECONDS": "2"}
    return Process(command, folder / "log", folder, PORT=str(port), **(defaults | settings))


@pytest.fixture
def replica(tmp_path):
    port = free_port()
    with running(begin(WITH_DEFAULT_SIGNALS, tmp_path, port)) as process:
        wait_until_ready(process, port)
        url = f"http://127.0.0.1:{port}/api/v1/"
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield process, client


# Ctrl+C and a terminal that closes end it like SIGTERM does.
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, ENDED), (signal.SIGINT, 130), (signal.SIGHUP, 0)]
)
def test_a_signal_lets_an_open_stream_finish(replica, number, status):
    process, client = replica
    text = ""
    with client.stream("POST", "chat", json={"message": "long:30 sleep", "stream": True}) as response:
        process.signal(number)
        for chunk in response.iter_text():
            text += chunk
    assert frames(text)[-1][0] == "done"
    assert process.wait() == status
    assert not accepts(client.base_url.port)
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "error" not in {json.loads(line)["level"] for line in log.splitlines()}


def test_logs_that_cannot_be_written_break_no_request(tmp_path):
    port = free_port()
    command = ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', *COMMAND]
    with running(begin(command, tmp_path, port)) as process:
        wait_until_ready(process, port)
        url = f"http://127.0.0.1:{port}/api/v1/chat"
        answers = [httpx2.post(url, json={"message": "hello"}, trust_env=False) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_under_nohup_it_outlives_its_terminal(tmp_path):
    port = free_port()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin(COMMAND, tmp_path, port)
    finally:
        signal.signal(signal.SIGHUP, before)
    with running(process):
        wait_until_ready(process, port)
        process.signal(signal.SIGHUP)
        url = f"http://127.0.0.1:{port}/api/v1/chat"
        assert httpx2.post(url, json={"message": "hello"}, trust_env=False).status_code == 200
        process.signal(signal.SIGTERM)
        assert process.wait() == ENDED


def test_a_port_that_is_taken_stops_the_start(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        running(begin(COMMAND, tmp_path, taken.getsockname()[1])) as process,
    ):
        port = taken.getsockname()[1]
        assert process.wait() == 2
    said = f"PORT={port} is in use on 127.0.0.1; stop the program there, or set another PORT"
    assert process.log.read_text().splitlines() == [said]


def test_all_that_cannot_be_used_is_named_at_once(tmp_path):
    (tmp_path / "assistant.json").write_text('{"tools": "all", "model": 7}')
    (tmp_path / "prices.json").write_text('{"gpt-6-luna": 1}')
    (tmp_path / "ui.json").write_text('{"title": 7}')
    files = {"ASSISTANT_FILE": "assistant.json", "PRICES_FILE": "prices.json", "LOG_FILE": "/proc/app.log"}
    files |= {"UI_FILE": "ui.json"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(begin(COMMAND, tmp_path, port, **files)) as process:
            assert process.wait() == 2
    places = [line.split(": ")[:2] for line in process.log.read_text().splitlines()]
    assert [place[0].partition(" ")[0] for place in places] == [
        "LOG_FILE=/proc/app.log",
        "ASSISTANT_FILE=assistant.json",
        "ASSISTANT_FILE=assistant.json",
        "PRICES_FILE=prices.json",
        "UI_FILE=ui.json",
        f"PORT={port}",
    ]
    assert [place[1] for place in places[1:5]] == ["model", "tools", "gpt-6-luna", "title"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HOST": "192.0.2.1", "ALLOW_ANONYMOUS": "true"}, "HOST=192.0.2.1 is no address of this machine"),
        ({"HOST": "nobody.invalid", "ALLOW_ANONYMOUS": "true"}, "HOST=nobody.invalid is no address of this"),
    ],
)
def test_an_address_of_another_machine_stops_the_start(tmp_path, settings, said):
    with running(begin(COMMAND, tmp_path, free_port(), **settings)) as process:
        assert process.wait() == 2
    (line,) = process.log.read_text().splitlines()
    assert line.startswith(said)


def test_the_start_tells_why_the_upstream_cannot_be_used_and_hints_at_typos(tmp_path):
    port, upstream = free_port(), f"http://127.0.0.1:{free_port()}/v1"
    wrong = {"OPENAI_BASE_URL": upstream, "CORS_ORIGIN": "https://a.test"}
    with running(begin(COMMAND, tmp_path, port, **wrong)) as process:
        wait_for(lambda: "upstream_unusable" in process.log.read_text(), "the cause")
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    found = {line["event"]: line for line in lines}
    assert found["upstream_unusable"]["reason"].startswith("nothing listens there")
    assert found["upstream_unusable"]["level"] == "error"
    assert "did you mean CORS_ORIGINS?" in found["setting_hint"]["hint"]


def test_sigterm_ends_a_stream_that_takes_too_long_with_its_terminal_event(replica):
    process, client = replica
    text = ""
    with client.stream("POST", "chat", json={"message": "slow:", "stream": True}) as response:
        chunks = response.iter_text()
        text += next(chunks)
        sent = time.monotonic()
        process.signal(signal.SIGTERM)
        text += "".join(chunks)
    name, data = frames(text)[-1]
    assert (name, data["error"]["code"]) == ("error", "shutting_down")
    assert process.wait() == ENDED
    assert time.monotonic() - sent < 2 + 5


def test_sigterm_makes_it_not_ready_and_refuses_new_work_while_it_drains(replica):
    process, client = replica
    with client.stream("POST", "chat", json={"message": "slow:", "stream": True}) as response:
        chunks = response.iter_text()
        next(chunks)
        process.signal(signal.SIGTERM)
        next(chunks)
        while (ready := client.get("ready")).status_code != 503:
            next(chunks)
        assert ready.json()["draining"] is True
        assert client.get("health").status_code == 200
        refused = client.post("chat", json={"message": "hello"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        assert refused.headers["retry-after"]
        for _ in chunks:
            pass
    assert process.wait() == ENDED


def test_a_process_that_starts_and_ends_leaves_no_error_behind(replica):
    process, client = replica
    assert client.post("chat", json={"message": "hello"}).status_code == 200
    process.signal(signal.SIGTERM)
    assert process.wait() == ENDED
    levels = [json.loads(line)["level"] for line in process.log.read_text().splitlines()]
    assert "error" not in levels


def on_a_terminal(tmp_path, port):
    """Start the service on a terminal of its own; returns the process and the terminal's other end."""
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "EMBEDDED_DB": str(tmp_path / "e.db"), "PORT": str(port)}
    # A shell's background ignores SIGINT, and so do its children; what has a handler gets the default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            WITH_DEFAULT_SIGNALS, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(theirs)
    return process, ours


def read_until(terminal, text=None):
    """What the terminal shows up to `text`, or to its end."""
    shown = ""
    while text is None or text not in shown:
        try:
            shown += os.read(terminal, 65_536).decode()
        except OSError:  # Linux reports the end of a terminal so
            break
    return shown


@pytest.mark.parametrize("times", [1, 2])
def test_a_terminal_shows_one_banner_and_ctrl_c_ends_silently(tmp_path, times):
    port = free_port()
    process, terminal = on_a_terminal(tmp_path, port)
    shown = read_until(terminal, "start again\r\n\r\n")
    assert shown.count(f"serves on http://127.0.0.1:{port} ") == 1
    assert f"http://127.0.0.1:{port}/docs" in shown
    assert "embedded, no key is set: an offline guide answers" in shown
    assert "OPENAI_API_KEY" in shown
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert read_until(terminal).strip() == ""
    # Killed by the signal where the second one comes after the end of the server.
    assert process.wait(30) == 130
    os.close(terminal)


def test_ctrl_c_while_modules_load_ends_silently(tmp_path):
    process, terminal = on_a_terminal(tmp_path, free_port())
    process.send_signal(signal.SIGINT)
    assert read_until(terminal).strip() == ""
    assert process.wait(30) in {-signal.SIGINT, 130}
    os.close(terminal)
