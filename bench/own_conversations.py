"""Measures what conversations of our own add to a chat turn, against an upstream that keeps them.

    python -m bench.own_conversations --postgres postgresql://user@127.0.0.1/an_empty_database

Every turn is the first one on a thread that has so many items. CPU time is the service's; that of PostgreSQL
is not in it. Without `--postgres`, SQLite alone is measured.
"""

import argparse
import asyncio
import itertools
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench import variants
from bench.load import fetch, http_request
from bench.measures import TOKENS, Watch
from bench.processes import Server, free_port, pin
from bench.variants import LOAD_CORE, Variant
from bench.wire import Plan, text

_THREAD = re.compile(rb'"id":"(thread_[^"]+)"')
_CLIENTS = 8
_TEXT = "A message of about a hundred characters, as people write them when they ask for something short. "


async def _at_once(count: int, work: Callable[[], Coroutine[Any, Any, bytes]]) -> list[bytes]:
    """Do work so many times, some of it at the same time."""
    left = iter(range(count))

    async def client() -> list[bytes]:
        return [await work() for _ in left]

    return [found for some in await asyncio.gather(*(client() for _ in range(_CLIENTS))) for found in some]


async def _new_threads(variant: Variant, count: int, items: int) -> list[str]:
    roles = itertools.cycle(("user", "assistant"))
    messages = [{"role": role, "content": _TEXT} for role in itertools.islice(roles, items)]
    body = orjson.dumps({"messages": messages})
    request = http_request("POST", "/api/v1/threads", body, variant.headers)
    made = await _at_once(count, lambda: fetch(variant.port, request))
    return [found[1].decode() for answer in made if (found := _THREAD.search(answer))]


async def _round(variant: Variant, upstream: Server, items: int, turns: int) -> float:
    """Return the milliseconds of the service's CPU that a turn takes."""
    threads = iter(await _new_threads(variant, turns, items))
    message, expected = Plan(TOKENS).message(), text(TOKENS).encode()

    async def turn() -> bytes:
        body = orjson.dumps({"message": message, "thread_id": next(threads)})
        answer = await fetch(variant.port, http_request("POST", "/api/v1/chat", body, variant.headers))
        assert expected in answer, answer
        return answer

    assert variant.server
    watch, loop = Watch(variant.server, upstream), asyncio.get_running_loop()
    started = loop.time()
    await _at_once(turns, turn)
    return watch.numbers(turns, loop.time() - started)["cpu_us"] / 1_000


def _tested(folder: Path, postgres: str | None) -> list[Variant]:
    """Return the service before an upstream with conversations, then with each store."""
    stores = {"SQLite": f"sqlite:///{folder / 'bench.db'}", "PostgreSQL": postgres}
    found = [variants.soloist(CONVERSATIONS="upstream")]
    found[0].title = "the upstream's conversations"
    for title, url in stores.items():
        if url is not None:
            found.append(variants.soloist(CONVERSATIONS="own", STORE_URL=url))
            found[-1].title = title
    return found


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    port = free_port()
    alone = variants.upstream_alone()
    upstream = Server(alone.command(port, ""), {}, port, LOAD_CORE)
    tested = _tested(folder, options.postgres)
    try:
        upstream.wait_until_listening()
        for variant in tested:
            variant.start(f"http://127.0.0.1:{port}/v1")
            await variant.sign_in()
            await _round(variant, upstream, 1, _CLIENTS)
        for items in options.items:
            found: dict[str, list[float]] = {}
            for _ in range(options.rounds):
                for variant in tested:
                    turns = max(2 * _CLIENTS, options.turns * min(options.items) // items)
                    cost = await _round(variant, upstream, items, turns)
                    found.setdefault(variant.title, []).append(cost)
            _tell(items, found)
    finally:
        for server in (upstream, *(variant.server for variant in tested)):
            if server is not None:
                server.stop()


def _tell(items: int, found: dict[str, list[float]]) -> None:
    base, *_ = found.values()
    for title, costs in found.items():
        added = statistics.median(cost - least for cost, least in zip(costs, base, strict=True))
        spread = f"{min(costs):.2f}-{max(costs):.2f}"
        print(f"{items} items, {title}: {statistics.median(costs):.2f} ms ({spread}), added {added:.2f} ms")


def main() -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_conversations", description=__doc__)
    parser.add_argument("--postgres", help="an empty database, as STORE_URL names it")
    parser.add_argument("--items", type=int, nargs="+", default=[20, 1_000], help="sizes of threads")
    parser.add_argument("--turns", type=int, default=300, help="turns a round on the shortest threads")
    parser.add_argument("--rounds", type=int, default=5, help="how often the stores take turns")
    options = parser.parse_args()
    pin(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(_measure(options, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
