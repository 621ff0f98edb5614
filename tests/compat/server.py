"""The service of `./run.sh compat`: main.py before a scripted upstream, both processes of their own."""

import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.cluster import ROOT, Process, accepts, running, start_service, wait_for
from bench.processes import free_port

_WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
_TOOLS = [
    {"type": "function", "function": _WEATHER},
    {"type": "file_search"},
    {"type": "code_interpreter"},
]


_OWN_TOOL = """
from app.tools import tool

@tool
async def look_up(city: str) -> str:
    "Looks a city up."
    return "looked up"
"""


@contextmanager
def serving() -> Iterator[str]:
    """Serve an assistant with a function, code interpreter and a vector store; yields the API's base URL."""
    with tempfile.TemporaryDirectory() as name, _upstream(Path(name)) as upstream:
        port = free_port()
        settings = {
            "OPENAI_BASE_URL": upstream,
            "OPENAI_API_KEY": "none",
            "ASSISTANT_TOOLS": json.dumps(_TOOLS),
            "ASSISTANT_VECTOR_STORES": json.dumps([_new_store(upstream)]),
            "ALLOW_RUN_OVERRIDES": "all",
            "TOOLS_MODULE": str(_tools(Path(name))),
            "TOOLS_VISIBLE": "full",
        }
        with running(start_service(Path(name), port, **settings)) as process:
            _wait(process, port)
            yield f"http://127.0.0.1:{port}/api/v1"


@contextmanager
def _upstream(folder: Path) -> Iterator[str]:
    port = free_port()
    arguments = ["embedded", "--port", str(port), "--db", ":memory:", "--responder", "scripted"]
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    with running(Process(command, folder / "upstream.log")) as process:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}/v1"


def _tools(folder: Path) -> Path:
    path = folder / "own_tools.py"
    path.write_text(_OWN_TOOL)
    return path


def _wait(process: Process, port: int) -> None:
    """Wait until the port is served; raises `RuntimeError` with what the process said if it ends."""
    wait_for(lambda: accepts(port) or process.popen.poll() is not None, "a server")
    if process.popen.poll() is not None:
        raise RuntimeError(process.log.read_text())


def _new_store(upstream: str) -> str:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{upstream}/vector_stores", b'{"name": "ship"}', headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - an http address of this machine
        found: dict[str, Any] = json.load(answer)
        return str(found["id"])
