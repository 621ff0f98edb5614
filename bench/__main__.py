"""`python -m bench`: measures Soloist beside the floor and the documented way and prints the table.

The service has one core, the upstream and the load have another. Variants take turns within each round;
medians and spread are over the rounds, and ratios are taken within each round.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench import measures, report, variants
from bench.measures import Load
from bench.processes import Server, free_port, pin, raise_file_limit
from bench.report import Row
from bench.tool_rounds import tool_rounds
from bench.variants import LOAD_CORE, Variant

_RATES: dict[str, tuple[str, measures.Measure]] = {
    "json": ("JSON chat on a known thread", measures.json_chat),
    "long": (f"JSON chat of {measures.LONG_TOKENS} tokens", measures.long_json_chat),
    "slow": ("JSON chat whose tokens come one by one, 50 a second", measures.slow_json_chat),
    "stream": (f"streamed chat, {measures.TOKENS} tokens in a burst", measures.streamed_chat),
    "new": ("new thread and JSON chat", measures.new_thread_chat),
    "list": ("list of 100 messages", measures.list_messages),
    "run": ("run, polled until done", measures.run_and_poll),
}
_OTHER_FILES = 200
_ONLY_SOLOIST = {"list", "run"}
_QUICK_ROWS = ["json", "stream", "paced", "first"]
_ALL_ROWS = [*_RATES, "paced", "first", "latency", "tools", "memory", "many"]


class Bench:
    """One run over some rows."""

    def __init__(self, upstream: Variant, tested: list[Variant], load: Load, rounds: int) -> None:
        self._upstream = upstream
        self._tested = tested
        self._load = load
        self._rounds = rounds
        # A stream takes two files of the service, one for each side.
        self._most_streams = (raise_file_limit() - _OTHER_FILES) // 2
        self.rows: list[Row] = []

    async def start(self) -> None:
        """Start every server and see that each answers rightly."""
        port = free_port()
        self._upstream.server = Server(self._upstream.command(port, ""), {}, port, LOAD_CORE)
        self._upstream.server.wait_until_listening()
        for variant in self._tested:
            await self._start(variant)

    def stop(self) -> None:
        """End every server."""
        for variant in (*self._tested, self._upstream):
            if variant.server is not None:
                variant.server.stop()

    async def measure(self, name: str) -> None:
        """Measure one row and keep it."""
        if name in _RATES:
            title, measure = _RATES[name]
            await self._alternate(name, title, "per_core", measure, with_upstream=name != "run")
        elif name == "paced":
            title = "CPU per token, paced at 50 a second"
            await self._alternate(name, title, "cpu_us", measures.paced_tokens)
        elif name == "first":
            title = "first token, 20 paced streams, added to the upstream's own time"
            await self._alternate(name, title, "added_ms", measures.first_token)
        elif name == "latency":
            await self._latency()
        elif name == "tools":
            await self._tools()
        elif name == "memory":
            await self._memory()
        else:
            await self._many()

    async def _alternate(
        self, name: str, title: str, key: str, measure: measures.Measure, *, with_upstream: bool = True
    ) -> None:
        tested = [v for v in self._tested if v.has_threads or name not in _ONLY_SOLOIST]
        row = Row(name, title, key)
        rounds = self._rounds if name in _RATES else min(self._rounds, self._load.paced_rounds)
        for number in range(rounds):
            alone: measures.Numbers = {}
            if with_upstream and name != "new":
                alone = await measure(self._upstream, self._upstream_server, self._load)
                row.add(self._upstream, alone | {"added_ms": 0.0})
            # The order is turned round each time, so that a drift of the machine favours nobody.
            for variant in tested if number % 2 == 0 else reversed(tested):
                found = await measure(variant, self._upstream_server, self._load)
                added = found.get("p50_ms", 0.0) - alone.get("p50_ms", 0.0)
                row.add(variant, found | {"added_ms": added})
        self._keep(row)

    async def _latency(self) -> None:
        row = Row("latency", "latency of JSON chat under 70 % load", "p50_ms")
        rates = next((known for known in self.rows if known.name == "json"), None)
        for variant in self._tested if rates else []:
            assert rates
            saturated = rates.median(variant, "per_second")
            for _ in range(self._rounds):
                server = self._upstream_server
                row.add(variant, await measures.latencies(variant, server, self._load, saturated=saturated))
        self._keep(row)

    async def _tools(self) -> None:
        """Measure a service of its own, as tools would be offered to the model in the other rows too."""
        variant = variants.soloist(TOOLS_MODULE="bench/tools.py")
        try:
            await self._start(variant)
            for title, stream in (("JSON", False), ("streamed", True)):
                row = Row(
                    "tools",
                    f"round of tool calls, {title}, added to the upstream's and the tool's time",
                    "added_ms",
                )
                for _ in range(self._rounds):
                    seconds = self._load.seconds
                    row.add(variant, await tool_rounds(variant, self._upstream, seconds, stream=stream))
                self._keep(row)
        finally:
            if variant.server is not None:
                variant.server.stop()

    async def _memory(self) -> None:
        for streams in (min(wanted, self._most_streams) for wanted in self._load.open_streams):
            row = Row(f"memory-{streams}", f"memory per open stream, {streams:,} open", "kib")
            await self._held_open(row, measures.memory, streams)

    async def _many(self) -> None:
        for streams in (200, 1_000, 5_000, min(10_000, self._most_streams)):
            title = f"CPU per token, 1,000 a second over {streams:,} streams"
            await self._held_open(Row(f"many-{streams}", title, "cpu_us"), measures.many_streams, streams)

    async def _held_open(self, row: Row, measure: measures.OfStreams, streams: int) -> None:
        """Measure each service afresh; one that cannot hold so many has no figure."""
        for variant in self._tested:
            if variant.speaks != "chat":
                continue
            await self._start(variant)
            try:
                row.add(variant, await measure(variant, self._upstream_server, streams))
            except RuntimeError as exc:
                print(f"{row.title}: {variant.name}: {exc}", flush=True)
        if row.found:
            self._keep(row)

    async def _start(self, variant: Variant) -> None:
        if variant.server is not None:
            variant.server.stop()
            variant.thread_ids.clear()
        variant.start(f"http://127.0.0.1:{self._upstream.port}/v1")
        await variant.sign_in()
        await variant.make_threads(self._load.connections)
        await measures.verify(variant)

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        print(report.line(row), flush=True)

    @property
    def _upstream_server(self) -> Server:
        assert self._upstream.server
        return self._upstream.server


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="the first rows, in under a minute")
    parser.add_argument("--rounds", type=int, default=0, help="how often the variants take turns")
    parser.add_argument("--rows", default="", help=f"some of {','.join(_ALL_ROWS)}")
    parser.add_argument(
        "--only",
        default="",
        help="some of soloist,budgets,floor,documented,litellm; budgets only where named",
    )
    parser.add_argument("--write", type=Path, help="also write the report to this file")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Variant]:
    makers: tuple[Callable[[], Variant | None], ...] = (
        variants.soloist,
        variants.budgets,
        variants.floor,
        variants.documented,
        variants.litellm,
    )
    found = [variant for make in makers if (variant := make())]
    names = (
        options.only.split(",")
        if options.only
        else [variant.name for variant in found if variant.name != "budgets"]
    )
    return [variant for variant in found if variant.name in names]


async def _run(options: argparse.Namespace) -> None:
    load = Load(1.0, 24, 50, 50, (1_000,), 1) if options.quick else Load()
    rounds = options.rounds or (2 if options.quick else 5)
    names = options.rows.split(",") if options.rows else (_QUICK_ROWS if options.quick else _ALL_ROWS)
    bench = Bench(variants.upstream_alone(), _chosen(options), load, rounds)
    try:
        await bench.start()
        for name in names:
            await bench.measure(name)
    finally:
        bench.stop()
    text = report.whole(bench.rows, rounds)
    print(text)
    if options.write:
        await asyncio.to_thread(options.write.write_text, text, encoding="utf-8")


def main() -> int:
    """Run from the command line; returns the exit status."""
    if not sys.platform.startswith("linux"):
        print("The benchmarks read CPU times from /proc and need Linux.")
        return 2
    options = _options()
    raise_file_limit()
    pin(LOAD_CORE)
    uvloop.run(_run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
