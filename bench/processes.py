"""Server processes of a benchmark, each on a core of its own, watched for CPU time and memory. Linux only."""

import os
import random
import resource
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 60
_WANTED_FILES = 60_000
# Not the shared generator: a test that seeds it draws the same ports in every process.
_DRAW = random.SystemRandom()


def pin(core: int) -> None:
    """Keep this process on one core."""
    os.sched_setaffinity(0, {core})


def raise_file_limit() -> int:
    """Allow as many open files as this process may have, and return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, _WANTED_FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, OSError):
            continue
        return limit
    return hard


def free_port() -> int:
    """Return a port that nobody listens on, for a server that starts later.

    It is below those that systems give to whoever asks for any port, which could take it in the meantime.
    """
    while True:
        port = _DRAW.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One process that listens on a loopback port."""

    def __init__(self, command: Iterable[str], environment: Mapping[str, str], port: int, core: int) -> None:
        self.port = port
        self._process = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env={**_clean_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: _prepare(core),  # noqa: PLW1509 - no threads exist yet
        )

    def wait_until_listening(self) -> None:
        """Return once the port answers; raises `RuntimeError` if the process ends or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError(f"a server did not start: {self._process.args!r}")

    def cpu_seconds(self) -> float:
        """Return the CPU time of all threads of the process and of its children so far."""
        return sum(map(_cpu_seconds, self._family()))

    def memory_bytes(self) -> int:
        """Return the resident memory of the process and its children."""
        return sum(map(_resident_bytes, self._family()))

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _family(self) -> list[int]:
        found, waiting = [], [self._process.pid]
        while waiting:
            found.append(pid := waiting.pop())
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, path.read_text().split())
        return found


def own_cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    return _cpu_seconds(os.getpid())


def _prepare(core: int) -> None:
    raise_file_limit()
    pin(core)


def _clean_environment() -> dict[str, str]:
    """Return an environment in which only what a benchmark sets configures a server."""
    kept = {"PATH", "HOME", "LANG", "VIRTUAL_ENV"}
    return {key: value for key, value in os.environ.items() if key in kept}


def _cpu_seconds(pid: int) -> float:
    paths = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
