"""Replicas on loopback ports, with nginx, Redis and an embedded upstream, each a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench.processes import free_port

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")
PATIENCE_SECONDS = 60
# All that the environment of whoever runs this decides.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Wait until `condition()` is true, and return what it returned; raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def status_of(url: str) -> int | None:
    """The status of a GET; None where nobody answers."""
    try:
        with _OPENER.open(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except OSError:
        return None


class Process:
    """One process, whose output is kept in a file."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path = ROOT, /, **environment: str) -> None:
        self.log = log
        clean = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                cwd=cwd,
                env={**clean, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        return self.popen.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """End the process, by force where it does not end by itself."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.stop()


def start_service(folder: Path, port: int, **settings: str) -> Process:
    """Start a replica, without waiting for it. Its folder has no `.env`, but the checkout may."""
    command = [sys.executable, "-c", _START]
    return Process(command, folder / f"replica-{port}.log", PORT=str(port), LOG_FORMAT="json", **settings)


# A developer's .env must not decide either.
_START = """
import sys
import main
main.Settings.model_config["env_file"] = None
sys.exit(main.main([]))
"""


def wait_until_ready(process: Process, port: int) -> None:
    def is_ready() -> bool:
        assert process.popen.poll() is None, process.log.read_text()[-2000:]
        return status_of(f"http://127.0.0.1:{port}/api/v1/ready") == 200

    wait_for(is_ready, f"replica on {port}")


def start_upstream(folder: Path, port: int, *options: str) -> Process:
    """Start the embedded upstream as a process of its own."""
    command = [sys.executable, "-m", "app.embedded", "--port", str(port), "--responder", "scripted"]
    command += ["--db", str(folder / f"upstream-{port}.db"), "--docs", str(folder), *options]
    process = Process(command, folder / f"upstream-{port}.log")
    wait_for(lambda: accepts(port), "the embedded upstream")
    return process


def start_redis(folder: Path, port: int) -> Process:
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = Process([*command, "--dir", str(folder)], folder / "redis.log")
    wait_for(lambda: accepts(port), "Redis")
    return process


class Nginx:
    """Debian's nginx with deploy/nginx.conf, every line of it but the port and the user that it runs as."""

    def __init__(self, folder: Path, port: int, replicas: Sequence[int]) -> None:
        self.folder, self.port = folder, port
        self.replicas_file = folder / "soloist-replicas.conf"
        lines = (ROOT / "deploy" / "nginx-replicas.conf").read_text().splitlines()
        example = next(line for line in lines if line.startswith("server 127.0.0.1:8011 "))
        servers = [example.replace("8011", str(replica)) for replica in replicas]
        self.replicas_file.write_text("\n".join(servers) + "\n")
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        assert text.count("listen 80;") == 1
        (folder / "soloist.conf").write_text(text.replace("listen 80;", f"listen 127.0.0.1:{port};"))
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = (
            f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log warn;\nworker_processes 2;\ndaemon off;\n"
        )
        main += "user root;\n" if os.geteuid() == 0 else ""
        events = "events { worker_connections 1024; }\n"
        (folder / "nginx.conf").write_text(
            f"{main}{events}http {{\naccess_log off;\n{temporary}include soloist.conf;\n}}\n"
        )

    @property
    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def start(self) -> Process:
        process = Process(self.command, self.folder / "nginx.log")
        wait_for(lambda: accepts(self.port), "nginx")
        return process


class Cluster:
    """Three replicas behind nginx, with one Redis and one embedded upstream."""

    SIZE = 3
    KEY = "a-key-of-the-cluster"

    def __init__(self, folder: Path, *, upstream_options: Sequence[str] = (), **settings: str) -> None:
        self.folder = folder
        self.upstream_port, self.redis_port, self.port = free_port(), free_port(), free_port()
        self.ports = [free_port() for _ in range(self.SIZE)]
        self.nginx = Nginx(folder, self.port, self.ports)
        self.replicas: dict[int, Process] = {}
        self._upstream_options = upstream_options
        self._settings = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self.upstream_port}/v1",
            "OPENAI_API_KEY": "key",
            "ASSISTANT_MODEL": "soloist-scripted",
            "AUTH_MODE": "api_key",
            "API_KEYS": f'{{"cluster": "{self.KEY}"}}',
            "SECRET_KEYS": f'["{"s" * 32}"]',
            "RATE_LIMIT_STORAGE": f"redis://127.0.0.1:{self.redis_port}/0",
            "RATE_LIMIT_CHAT": "1000000/minute",
            "RATE_LIMIT_WRITES": "1000000/minute",
            "RATE_LIMIT_READS": "1000000/minute",
            "TRUSTED_PROXIES": '["127.0.0.1"]',
            "LOG_LEVEL": "warning",
        } | settings

    @property
    def url(self) -> str:
        """Where nginx serves the API."""
        return f"http://127.0.0.1:{self.port}/api/v1/"

    def replica_url(self, port: int) -> str:
        """Where one replica serves it."""
        return f"http://127.0.0.1:{port}/api/v1/"

    @contextlib.contextmanager
    def running(self) -> Iterator["Cluster"]:
        """Start everything; end everything."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_replicas)
            stack.enter_context(running(start_redis(self.folder, self.redis_port)))
            upstream = start_upstream(self.folder, self.upstream_port, *self._upstream_options)
            stack.enter_context(running(upstream))
            for port in self.ports:
                self.replicas[port] = start_service(self.folder, port, **self._settings)
            for port, replica in self.replicas.items():
                wait_until_ready(replica, port)
            stack.enter_context(running(self.nginx.start()))
            yield self

    def kill(self, port: int) -> None:
        """End a replica at once, as a crash does."""
        self.replicas[port].popen.kill()
        self.replicas[port].wait()

    def start(self, port: int) -> None:
        """Start a replica that ended, and wait until it is ready."""
        self.replicas[port] = start_service(self.folder, port, **self._settings)
        wait_until_ready(self.replicas[port], port)

    def restart(self, port: int) -> None:
        """Restart a replica in order, and wait for its end but not for its start."""
        self.replicas[port].popen.terminate()
        self.replicas[port].wait()
        self.replicas[port] = start_service(self.folder, port, **self._settings)

    def _stop_replicas(self) -> None:
        for replica in self.replicas.values():
            replica.stop()
