"""Lives through every fault of the upstream for a while, and counts what was lost, doubled or leaked.

    python -m bench.soak --seconds 600

Clients chat, stream, abort, resume, upload and call tools against a real process, whose upstream misbehaves
in one way after the other and is restarted between them. Then every answer that a client got must stand in
its thread exactly once. Linux only. Ends with status 1 when a row that must be 0 is not.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.embedded.settings import FAULTS
from bench.cluster import Process, running, start_service, start_upstream, wait_until_ready
from bench.processes import free_port
from bench.soak_clients import Talker

_CLIENTS = 6
_FAULT_RATE = "0.15"
_SETTLE_SECONDS = 60
_MOST_GROWTH_KIB_PER_MINUTE = 1024
_WARM_UP_SHARE = 0.3


@dataclass(slots=True)
class Report:
    """The table at the end."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    leaked_files: int = 0
    leaked_tasks: int = 0
    leaked_streams: int = 0
    upstream_streams: int = 0
    memory_kib_per_minute: float = 0
    seconds: float = 0

    @property
    def must_be_zero(self) -> dict[str, int]:
        """The rows that make a soak fail."""
        return {
            "lost turns": len(self.lost),
            "duplicated turns": len(self.doubled),
            "leaked file descriptors": self.leaked_files,
            "leaked tasks": self.leaked_tasks,
            "leaked streams": self.leaked_streams,
            "leaked upstream connections": self.upstream_streams,
        }

    @property
    def is_good(self) -> bool:
        """Whether the release may go on; memory counts where there was time to judge it."""
        has_grown = self.seconds >= 300 and self.memory_kib_per_minute > _MOST_GROWTH_KIB_PER_MINUTE
        return not any(self.must_be_zero.values()) and not has_grown

    def lines(self) -> Iterator[str]:
        """Yield the table as Markdown."""
        yield "| what | figure |"
        yield "|---|---|"
        yield f"| seconds | {self.seconds:.0f} |"
        yield f"| requests | {sum(self.requests.values())} |"
        for kind, count in sorted(self.requests.items()):
            yield f"| … {kind} | {count} |"
        yield f"| turns that were answered | {self.turns} |"
        for what, count in self.must_be_zero.items():
            yield f"| {what} (must be 0) | {count} |"
        yield f"| memory, KiB a minute | {self.memory_kib_per_minute:.0f} |"
        for text in [*self.lost, *self.doubled][:20]:
            yield f"| lost or duplicated | `{text[:80]}` |"
        for code, count in self.errors.most_common():
            yield f"| refused with `{code}` | {count} |"


class Soak:
    """One service process and its upstream."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._upstream_port = free_port(), free_port()
        self._upstream: Process | None = None
        self.report = Report()
        self._memory: list[tuple[float, float]] = []

    async def run(self, seconds: float) -> Report:
        """Soak for so long; raises where the service itself ends."""
        self._restart_upstream(None)
        settings = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self._upstream_port}/v1",
            "OPENAI_TIMEOUT_SECONDS": "2",
            "RUN_EXPIRES_SECONDS": "20",
            "LOG_LEVEL": "error",
            "ASSISTANT_TOOLS": '[{"type": "function", "function": {"name": "look_up"}}]',
        }
        try:
            with running(start_service(self._folder, self._port, **settings)) as service:
                wait_until_ready(service, self._port)
                await self._soak(service, seconds)
        finally:
            if self._upstream is not None:
                self._upstream.stop()
        return self.report

    async def _soak(self, service: Process, seconds: float) -> None:
        talkers = [
            Talker(self._url, self.report.requests, self.report.errors, seed) for seed in range(_CLIENTS)
        ]
        await asyncio.gather(*(talker.warm_up() for talker in talkers))
        before = await self._settled(service, None)
        sampler = asyncio.create_task(self._sample_memory(service))
        started = time.monotonic()
        phases = [None, *FAULTS]
        for fault in phases:
            self._restart_upstream(fault)
            until = time.monotonic() + seconds / len(phases)
            await asyncio.gather(*(talker.talk(until) for talker in talkers))
        self.report.seconds = time.monotonic() - started
        sampler.cancel()
        self._restart_upstream(None)
        await self._judge_turns(talkers)
        await self._judge_leaks(service, before)
        self.report.memory_kib_per_minute = _slope(self._memory)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/v1/"

    def _restart_upstream(self, fault: str | None) -> None:
        """A restart cuts every connection too, so none that idles in a pool counts as leaked."""
        if self._upstream is not None:
            self._upstream.stop()
        options = ["--fault", fault, "--rate", _FAULT_RATE] if fault else []
        self._upstream = start_upstream(
            self._folder, self._upstream_port, "--token-ms", "2", "--chunk", "700", *options
        )

    async def _judge_turns(self, talkers: list[Talker]) -> None:
        for talker in talkers:
            answers = await talker.finished_turns()
            questions = await talker.questions()
            self.report.turns += len(answers)
            self.report.lost += [answer for answer, count in answers.items() if not count]
            self.report.doubled += [text for text, count in (answers + questions).items() if count > 1]

    async def _judge_leaks(self, service: Process, before: dict[str, float]) -> None:
        self._restart_upstream(None)
        after = await self._settled(service, before)
        self.report.leaked_files = max(0, int(after["files"] - before["files"]))
        self.report.leaked_tasks = max(0, int(after["tasks"] - before["tasks"]))
        self.report.leaked_streams = int(after["streams"])
        found = await _get(f"http://127.0.0.1:{self._upstream_port}/_stats")
        self.report.upstream_streams = found.json()["streams_open"]

    async def _settled(self, service: Process, before: dict[str, float] | None) -> dict[str, float]:
        """Wait until what is held no longer shrinks, or is what it was before."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        found, calm = await self._held(service), 0
        while time.monotonic() < deadline and calm < 5:
            await asyncio.sleep(0.5)
            last, found = found, await self._held(service)
            is_back = before is not None and all(found[name] <= before[name] for name in found)
            calm = calm + 1 if is_back or (before is None and found == last) else 0
        return found

    async def _held(self, service: Process) -> dict[str, float]:
        text = (await _get(f"http://127.0.0.1:{self._port}/metrics")).text
        return {
            "files": _open_files(service.popen.pid),
            "tasks": _gauge(text, "soloist_tasks"),
            "streams": _gauge(text, "soloist_open_streams"),
        }

    async def _sample_memory(self, service: Process) -> None:
        while True:
            self._memory.append((time.monotonic(), _resident_kib(service.popen.pid)))
            await asyncio.sleep(1)


def _open_files(process_id: int) -> int:
    return len(list(Path(f"/proc/{process_id}/fd").iterdir()))


def _resident_kib(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


async def _get(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.get(url)


def _gauge(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def _slope(samples: list[tuple[float, float]]) -> float:
    """KiB a minute after the warm-up, in which pools and caches fill."""
    kept = samples[int(len(samples) * _WARM_UP_SHARE) :]
    if len(kept) < 3:
        return 0
    return statistics.linear_regression([at for at, _ in kept], [kib for _, kib in kept]).slope * 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(Soak(Path(folder)).run(seconds))
    print("\n".join(report.lines()))
    return int(not report.is_good)


if __name__ == "__main__":
    sys.exit(main())
