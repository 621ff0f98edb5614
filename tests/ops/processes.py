"""Real processes for tests, on loopback ports: replicas, the embedded upstream, nginx and Redis."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60
# What the environment of whoever runs the tests must not decide.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition, what, seconds=PATIENCE_SECONDS):
    """Wait until `condition()` is true, and return what it returned."""
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

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.log = log
        clean = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                cwd=ROOT,
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
