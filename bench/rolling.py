"""Restarts three replicas one after the other under load and counts what the clients lost.

    python -m bench.rolling --requests 10000

Real processes behind Debian's nginx with deploy/nginx.conf, restarted by deploy/rolling-restart.sh. Linux
only; needs nginx and redis-server. Ends with status 1 when a single request was lost.
"""

import argparse
import asyncio
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from bench.cluster import ROOT, Cluster

_CLIENTS = 8
Client = httpx2.AsyncClient


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    seconds: float = 0


async def _chat(client: Client) -> str | None:
    response = await client.post("chat", json={"message": "hello"})
    return None if response.status_code == 200 else f"chat {response.status_code}"


async def _stream(client: Client) -> str | None:
    body = {"message": "long:30", "stream": True}
    response = await client.post("chat", json=body)
    if response.status_code != 200:
        return f"stream {response.status_code}"
    return None if "\nevent: done\n" in response.text else "stream without its end"


async def _thread(client: Client) -> str | None:
    messages = [{"role": "user", "content": "hello"}]
    response = await client.post("threads", json={"messages": messages})
    return None if response.status_code == 200 else f"thread {response.status_code}"


async def _ready(client: Client) -> str | None:
    response = await client.get("assistants")
    return None if response.status_code == 200 else f"assistants {response.status_code}"


_KINDS: list[Callable[[Client], Awaitable[str | None]]] = [_chat, _stream, _thread, _ready]


async def _load(cluster: Cluster, tally: Tally, requests: int, is_rolling: Callable[[], bool]) -> None:
    """Send at least `requests`, and go on while replicas are being restarted."""

    async def work(seed: int) -> None:
        draw = random.Random(seed)
        # A connection for each request: nginx closes idle ones when it reloads, which clients must expect.
        limits = httpx2.Limits(max_keepalive_connections=0)
        headers = {"authorization": f"Bearer {cluster.KEY}"}
        async with Client(
            base_url=cluster.url, headers=headers, limits=limits, timeout=60, trust_env=False
        ) as client:
            while tally.sent < requests or is_rolling():
                tally.sent += 1
                try:
                    problem = await draw.choice(_KINDS)(client)
                except httpx2.HTTPError as exc:
                    problem = type(exc).__name__
                if problem:
                    tally.lost[problem] += 1

    await asyncio.gather(*map(work, range(_CLIENTS)))


@contextmanager
def _restarter(cluster: Cluster) -> Iterator[str]:
    """Serve what the script calls to restart a replica; yields the command that lacks the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cluster.restart(int(self.path.removeprefix("/")))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"curl --silent --fail --noproxy * http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def restart_all(cluster: Cluster) -> None:
    """Run deploy/rolling-restart.sh once over all replicas; raises where it fails."""
    with _restarter(cluster) as restart:
        environment = {
            "PATH": os.environ["PATH"],
            "REPLICAS_FILE": str(cluster.nginx.replicas_file),
            "RELOAD": " ".join([*cluster.nginx.command, "-s", "reload"]),
            "RESTART": restart,
        }
        command = [str(ROOT / "deploy" / "rolling-restart.sh"), *map(str, cluster.ports)]
        done = subprocess.run(
            command, env=environment, check=False, timeout=600, capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(done.stderr)


async def roll(cluster: Cluster, requests: int) -> Tally:
    """Restart all replicas again and again while `requests` are sent, at least once."""
    tally = Tally()
    is_over = threading.Event()
    started = time.monotonic()

    def restart_until_enough() -> None:
        try:
            while not tally.restarts or tally.sent < requests:
                restart_all(cluster)
                tally.restarts += len(cluster.ports)
        finally:
            is_over.set()

    restarting = asyncio.create_task(asyncio.to_thread(restart_until_enough))
    await _load(cluster, tally, requests, lambda: not is_over.is_set())
    await restarting
    tally.seconds = time.monotonic() - started
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rolling", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)).running() as cluster:
        tally = asyncio.run(roll(cluster, requests))
    found = {"requests": tally.sent, "restarts": tally.restarts, "lost": sum(tally.lost.values())}
    print(json.dumps(found | {"seconds": round(tally.seconds, 1), "how": dict(tally.lost)}))
    return int(bool(tally.lost))


if __name__ == "__main__":
    sys.exit(main())
