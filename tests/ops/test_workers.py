"""`WORKERS`: several processes on one port, each of which answers, drains, and is replaced when it dies."""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.cluster import ROOT, Process, accepts, running, start_upstream, wait_for, wait_until_ready
from bench.processes import free_port
from tests.support import frames

COMMAND = [sys.executable, str(ROOT / "main.py")]
# SIGHUP (1), where whoever runs the tests ignores it as `nohup` does, would be ignored here too.
IN_A_GROUP = [
    sys.executable,
    "-c",
    "import os, sys, signal as s; os.setsid(); s.signal(1, s.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
    *COMMAND,
]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    port = free_port()
    with running(start_upstream(tmp_path_factory.mktemp("upstream"), port)):
        yield {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "key"}


def begin(folder, port, **settings):
    """Start `python main.py` where no `.env` lies, in a process group of its own."""
    settings = {"ASSISTANT_MODEL": "soloist-scripted", "LOG_FORMAT": "json", "WORKERS": "2"} | settings
    return Process(IN_A_GROUP, folder / "log", folder, PORT=str(port), TMPDIR=str(folder), **settings)


@pytest.fixture
def service(tmp_path, upstream):
    """Two workers that both listen."""
    port = free_port()
    with running(begin(tmp_path, port, **upstream)) as process:
        wait_until_ready(process, port)
        found = SimpleNamespace(process=process, port=port, url=f"http://127.0.0.1:{port}/api/v1/")
        wait_for(lambda: len(pids(found, "listening")) == 2, "two workers")
        yield found


def events(service):
    return [json.loads(line) for line in service.process.log.read_text().splitlines()]


def pids(service, event, **fields):
    """The processes that logged an event."""
    wanted = {"event": event, **fields}.items()
    return {line["pid"] for line in events(service) if wanted <= line.items()}


def group(process):
    """The command lines of the processes in a process's group, but for those that ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, group_id = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group_id) == process.popen.pid and state != "Z":
                found.append((path / "cmdline").read_text())
    return found


def chat(service):
    """Ask over a connection of its own."""
    response = httpx2.post(service.url + "chat", json={"message": "hello"}, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    return 1


def chat_until_answered_by(service, wanted):
    """Ask until each of `wanted` has answered; how often that took."""
    count = 0

    def have_answered():
        nonlocal count
        count += chat(service)
        return wanted <= pids(service, "request", route="/api/v1/chat")

    wait_for(have_answered, "an answer of every worker")
    return count


def samples(service):
    text = httpx2.get(f"http://127.0.0.1:{service.port}/metrics", trust_env=False).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def chats_counted(service):
    return sum(
        sample.value
        for sample in samples(service)
        if sample.name == "soloist_requests_total" and sample.labels["route"] == "/api/v1/chat"
    )


def pids_told(service, name):
    return {int(sample.labels["pid"]) for sample in samples(service) if sample.name == name}


def scrape_until_answered_by(service, wanted, look):
    """What `look` found in scrapes until each of `wanted` has answered one."""
    found = set()

    def have_answered():
        found.add(look(service))
        return wanted <= pids(service, "request", route="/metrics")

    wait_for(have_answered, "a scrape of every worker")
    return found


def test_both_workers_answer_and_each_tells_the_metrics_of_both(service):
    workers = pids(service, "listening")
    assert service.process.popen.pid not in workers
    sent = chat_until_answered_by(service, workers)
    assert scrape_until_answered_by(service, workers, chats_counted) == {sent}
    wait_for(lambda: pids_told(service, "soloist_open_streams") == workers, "the state of both")
    assert pids_told(service, "process_resident_memory_bytes") == workers
    (warning,) = [line for line in events(service) if line["event"] == "limits_per_worker"]
    assert "RATE_LIMIT_STORAGE" in warning["effect"]


def test_a_worker_that_dies_is_replaced_and_what_it_counted_stays(service):
    workers = pids(service, "listening")
    sent = chat_until_answered_by(service, workers)
    wait_for(lambda: pids_told(service, "soloist_open_streams") == workers, "the state of both")
    dead = min(workers)
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: len(pids(service, "listening")) == 3, "a new worker")
    alive = pids(service, "listening") - {dead}
    sent += chat_until_answered_by(service, alive)
    assert chats_counted(service) == sent
    wait_for(lambda: pids_told(service, "soloist_open_streams") == alive, "the new worker's state")
    (told,) = [line for line in events(service) if line["event"] == "worker_died"]
    assert (told["worker"], told["status"], told["level"]) == (dead, -signal.SIGKILL, "warning")


def sigterm(process):
    process.signal(signal.SIGTERM)


def sighup(process):
    process.signal(signal.SIGHUP)


def closed_terminal(process):
    os.killpg(process.popen.pid, signal.SIGHUP)


@pytest.mark.parametrize("end", [sigterm, sighup, closed_terminal])
def test_a_signal_lets_an_open_stream_finish_and_ends_every_process(service, tmp_path, end):
    body = {"message": "long:30 sleep", "stream": True}
    text = ""
    with httpx2.stream("POST", service.url + "chat", json=body, timeout=60, trust_env=False) as response:
        end(service.process)
        for chunk in response.iter_text():
            text += chunk
    assert frames(text)[-1][0] == "done"
    assert service.process.wait() == 0
    assert not accepts(service.port)
    wait_for(lambda: not group(service.process), "the end of the group")
    assert not list(tmp_path.glob("soloist-metrics-*"))
    assert "error" not in {line["level"] for line in events(service)}
    assert "worker_died" not in {line["event"] for line in events(service)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_ends_workers_that_still_start_without_a_word(tmp_path, upstream, number):
    with running(begin(tmp_path, free_port(), **upstream)) as process:
        wait_for(lambda: sum("spawn_main" in line for line in group(process)) == 2, "two workers")
        os.killpg(process.popen.pid, number)
        assert process.wait() == 0
        wait_for(lambda: not group(process), "the end of the group")
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "worker_died" not in log


def test_under_nohup_it_outlives_its_terminal(tmp_path, upstream):
    port = free_port()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin(tmp_path, port, **upstream)
    finally:
        signal.signal(signal.SIGHUP, before)
    with running(process):
        wait_until_ready(process, port)
        closed_terminal(process)
        found = SimpleNamespace(process=process, url=f"http://127.0.0.1:{port}/api/v1/")
        wait_for(lambda: len(pids(found, "listening")) == 2, "two workers")
        chat_until_answered_by(found, pids(found, "listening"))
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "worker_died" not in {line["event"] for line in events(found)}


def test_a_replacement_that_cannot_be_built_says_why_and_is_tried_again(tmp_path, upstream):
    port, file = free_port(), tmp_path / "assistant.json"
    file.write_text("{}")
    with running(begin(tmp_path, port, ASSISTANT_FILE=str(file), **upstream)) as process:
        wait_until_ready(process, port)
        found = SimpleNamespace(process=process, url=f"http://127.0.0.1:{port}/api/v1/")
        wait_for(lambda: len(pids(found, "listening")) == 2, "two workers")
        file.write_text("{")
        os.kill(min(pids(found, "listening")), signal.SIGKILL)
        wait_for(lambda: pids(found, "worker_died", status=2), "the end of a worker that was not built")
        chat(found)
        file.write_text("{}")
        wait_for(lambda: len(pids(found, "listening")) == 3, "a new worker")
        told = [line["error"] for line in events(found) if line["event"] == "worker_not_built"]
    assert all(error.startswith("ASSISTANT_FILE is no JSON") for error in told)
    assert "Traceback" not in process.log.read_text()


def test_workers_do_not_outlive_their_parent(service):
    service.process.signal(signal.SIGKILL)
    service.process.wait()
    wait_for(lambda: not accepts(service.port), "the end of the workers")


def test_check_warns_too_of_limits_that_each_worker_counts_alone(tmp_path, upstream):
    process = Process([*COMMAND, "--check"], tmp_path / "log", tmp_path, WORKERS="2", **upstream)
    assert process.wait() == 0
    (warning,) = [line for line in process.log.read_text().splitlines() if "WORKERS" in line]
    assert warning.startswith("warning: Each of the WORKERS counts limits")
    assert "RATE_LIMIT_STORAGE" in warning


def test_without_an_upstream_it_is_refused_in_one_sentence(tmp_path):
    with running(begin(tmp_path, free_port())) as process:
        assert process.wait() == 2
    (line,) = process.log.read_text().splitlines()
    assert line.startswith("WORKERS=2 needs an upstream")
    assert "OPENAI_API_KEY" in line


def test_a_port_that_is_taken_stops_the_start(tmp_path, upstream):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        running(begin(tmp_path, taken.getsockname()[1], **upstream)) as process,
    ):
        assert process.wait() == 3
    assert "Address already in use" in process.log.read_text()
