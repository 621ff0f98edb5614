"""Talks for some turns in several threads and prints which share of the input the upstream had cached.

    python -m bench.caching --users 8 --turns 10

The embedded upstream reports what a prompt shares with the one before it under the same `prompt_cache_key`,
from 1,024 tokens on in steps of 128, as OpenAI does. For a real upstream, read the two metrics that this
program reads at `/metrics`: `soloist_cached_input_tokens_total` and `soloist_input_tokens_total`.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

import httpx2

from bench.processes import Server, free_port

_KEY = "bench-only-0123456789abcdef0123456789abcdef"
_INSTRUCTIONS = "You answer questions about the shop, its hours and its returns. " * 80


async def _talk(client: httpx2.AsyncClient, user: str, turns: int) -> None:
    headers = {"authorization": f"Bearer {_KEY}", "x-user-id": user}
    thread_id = None
    for number in range(turns):
        body = {"message": f"long:60 question {number}", "thread_id": thread_id}
        response = await client.post("api/v1/chat", json=body, headers=headers)
        response.raise_for_status()
        thread_id = response.json()["thread_id"]


async def _measured(origin: str, users: int, turns: int) -> tuple[float, float]:
    """Return the input tokens and those of them that were cached."""
    async with httpx2.AsyncClient(base_url=origin, timeout=60) as client:
        await asyncio.gather(*(_talk(client, f"user-{number}", turns) for number in range(users)))
        text = (await client.get("metrics")).text
    found = [
        re.search(rf"^soloist_{name}_total{{[^}}]*}} (\S+)", text, re.MULTILINE)
        for name in ("input_tokens", "cached_input_tokens")
    ]
    read, cached = (float(each[1]) if each else 0.0 for each in found)
    return read, cached


def main() -> None:
    """Start the service, talk, and print the row."""
    parser = argparse.ArgumentParser(prog="python -m bench.caching")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {
            "PORT": str(port),
            "AUTH_MODE": "api_key",
            "API_KEYS": f"bench={_KEY}",
            "SECRET_KEYS": f'["{_KEY}"]',
            "LOG_LEVEL": "error",
            "ASSISTANT_INSTRUCTIONS": _INSTRUCTIONS,
            "EMBEDDED_DB": str(Path(folder) / "embedded.db"),
            "EMBEDDED_RESPONDER": "scripted",
        }
        server = Server([sys.executable, "main.py"], environment, port, 0)
        server.wait_until_listening()
        try:
            read, cached = asyncio.run(_measured(f"http://127.0.0.1:{port}/", options.users, options.turns))
        finally:
            server.stop()
    print("| users × turns | input tokens | cached, as the upstream reports it |\n|---|---|---|")
    print(f"| {options.users} × {options.turns} | {read:,.0f} | {cached:,.0f} ({cached / read:.0%}) |")


if __name__ == "__main__":
    main()
