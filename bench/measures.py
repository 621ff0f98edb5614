"""The measurements: each takes one running variant and returns numbers by name.

Rates are per second of the server's CPU time, which is what one core does: on a machine that others use
too, the time on the clock says more about them.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import orjson

from bench.load import OpenStreams, Request, Result, closed_loop, fetch, http_request, open_loop
from bench.processes import Server, own_cpu_seconds
from bench.variants import Variant
from bench.wire import Plan, text

Numbers = dict[str, float]
_LOAD = 0.7
_OPENED_A_SECOND = 250
_MOST_LOOKS = 6
_WATCHED_SECONDS = 10.0
_MOST_CLOSING_LOOKS = 60
TOKENS = 60
LONG_TOKENS = 600
_SETTLE_SECONDS = 2.5
"""Work that a service puts off until after its answer belongs to what the answer cost."""


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long."""

    seconds: float = 3.0
    connections: int = 24
    paced_streams: int = 50
    paced_tokens: int = 250
    open_streams: tuple[int, ...] = (1_000, 4_000, 10_000)
    paced_rounds: int = 3


class Watch:
    """CPU time that a server and the load's own core spent while something ran."""

    def __init__(self, server: Server, upstream: Server) -> None:
        self._servers = (server, upstream)
        self._before = (server.cpu_seconds(), upstream.cpu_seconds() + own_cpu_seconds())

    def numbers(self, count: float, seconds: float) -> Numbers:
        """Return rates for `count` pieces of work, and how busy the load's core was."""
        server, upstream = self._servers
        cpu = server.cpu_seconds() - self._before[0]
        load = upstream.cpu_seconds() + own_cpu_seconds() - self._before[1]
        return {
            "per_core": count / cpu,
            "per_second": count / seconds,
            "cpu_us": cpu / count * 1e6,
            "busy": cpu / seconds,
            "load_busy": load / seconds,
        }


async def verify(variant: Variant) -> None:
    """Make sure that the service answers what was ordered, whole, before its speed is measured."""
    plan = Plan(tokens=TOKENS)
    whole = await fetch(variant.port, variant.chat(plan)(0))
    assert text(TOKENS).encode() in whole, whole
    streamed = await fetch(variant.port, variant.chat(plan, stream=True)(0))
    assert streamed.count(b" pieces") >= TOKENS // 11, streamed


async def json_chat(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure JSON answers on threads that are there."""
    return await _saturated(variant, upstream, load, variant.chat(Plan(tokens=TOKENS)))


async def long_json_chat(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure JSON answers ten times as long, whose upstream stream takes many times the answer's bytes."""
    return await _saturated(variant, upstream, load, variant.chat(Plan(tokens=LONG_TOKENS)))


async def slow_json_chat(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure JSON answers whose tokens come one by one; nothing is saturated."""
    request = variant.chat(Plan(tokens=TOKENS, gap_ms=20))
    return await _saturated(variant, upstream, replace(load, connections=100), request)


async def new_thread_chat(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure JSON answers that each begin a thread, with what the service does afterwards."""
    request = variant.chat(Plan(tokens=TOKENS), new_thread=True)
    return await _saturated(variant, upstream, load, request, settle=_SETTLE_SECONDS)


async def streamed_chat(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure streamed answers whose tokens come all at once."""
    return await _saturated(variant, upstream, load, variant.chat(Plan(tokens=TOKENS), stream=True))


async def list_messages(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure pages of 100 messages."""
    path = "/api/v1/threads/{}/messages?limit=100"
    if variant.speaks != "chat":
        path = "/v1/conversations/conv_0/items?limit=100"
    made = [
        http_request("GET", path.format(name), b"", variant.headers) for name in variant.thread_ids or [""]
    ]
    return await _saturated(variant, upstream, load, lambda number: made[number % len(made)])


async def run_and_poll(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure runs that are started, then polled every 20 ms until they are done after 50 ms."""
    message = orjson.dumps({"role": "user", "content": Plan(TOKENS, 0, 50).message()})
    body = b'{"assistant_id":"asst_soloist","additional_messages":[%b]}' % message
    watch = Watch(_server(variant), upstream)
    count = 40
    loop = asyncio.get_running_loop()
    started = loop.time()
    for first in range(0, count, 8):
        await asyncio.gather(*(_run(variant, number, body) for number in range(first, first + 8)))
    return watch.numbers(count, loop.time() - started)


async def _run(variant: Variant, number: int, body: bytes) -> None:
    path = f"/api/v1/threads/{variant.thread_ids[number % len(variant.thread_ids)]}/runs"
    run = await _json(variant, http_request("POST", path, body, variant.headers))
    while run["status"] != "completed":
        await asyncio.sleep(0.02)
        run = await _json(variant, http_request("GET", f"{path}/{run['id']}", b"", variant.headers))


async def _json(variant: Variant, request: bytes) -> dict[str, str]:
    body = (await fetch(variant.port, request)).partition(b"\r\n\r\n")[2]
    found: dict[str, str] = orjson.loads(body)
    return found


async def paced_tokens(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure the CPU time of a token where each stream gets 50 a second."""
    plan = Plan(tokens=load.paced_tokens, gap_ms=20, first_ms=400)
    return await _tokens(variant, upstream, plan, load.paced_streams, 0.02)


async def many_streams(variant: Variant, upstream: Server, streams: int) -> Numbers:
    """Measure the CPU time of a token at 1,000 tokens a second over so many streams, none of which ends."""
    opened = await _held_open(variant, streams, gap_ms=streams)
    watch, loop = Watch(_server(variant), upstream), asyncio.get_running_loop()
    started = loop.time()
    await asyncio.sleep(_WATCHED_SECONDS)
    seconds = loop.time() - started
    numbers = watch.numbers(round(1_000 * seconds), seconds)
    opened.abandon()
    return numbers


async def _tokens(
    variant: Variant, upstream: Server, plan: Plan, streams: int, spread_seconds: float
) -> Numbers:
    opened = OpenStreams()
    await opened.open(variant.port, variant.chat(plan, stream=True), streams, spread_seconds)
    # Opening is over before the first token comes, so only tokens are measured.
    await asyncio.sleep(plan.first_ms / 2_000)
    watch = Watch(_server(variant), upstream)
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = await opened.finish(120)
    _check(result, streams)
    return watch.numbers(streams * plan.tokens, loop.time() - started)


async def first_token(variant: Variant, upstream: Server, load: Load) -> Numbers:
    """Measure the time to the first token while 20 streams are paced at 50 a second."""
    plan = Plan(tokens=30, gap_ms=20, first_ms=100)
    request = variant.chat(plan, stream=True)
    result = await open_loop(variant.port, request, 27, load.seconds + 0.5, 60)
    _check(result, 1)
    firsts = [seconds * 1000 - plan.first_ms for seconds in result.first_tokens]
    return {"p50_ms": statistics.median(firsts), "p99_ms": _percentile(firsts, 0.99)}


async def latencies(variant: Variant, upstream: Server, load: Load, *, saturated: float) -> Numbers:
    """Measure how long JSON answers take at a steady rate that keeps the service busy 70 % of the time.

    The rate is found by a trial at half of what the service does when saturated: requests that come one by
    one cost more than those that come in batches, so a share of the saturated rate would say little.
    """
    request = variant.chat(Plan(tokens=TOKENS))

    async def at(per_second: float) -> tuple[Result, Numbers]:
        watch = Watch(_server(variant), upstream)
        result = await open_loop(variant.port, request, per_second, load.seconds * 2, 200)
        _check(result, 1)
        return result, watch.numbers(result.count, result.seconds)

    _, trial = await at(saturated / 2)
    result, numbers = await at(saturated / 2 * _LOAD / trial["busy"])
    found = [seconds * 1000 for seconds in result.latencies]
    names = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    told = {"per_second": numbers["per_second"], "busy": numbers["busy"]}
    return {name: _percentile(found, part) for name, part in names.items()} | told


async def memory(variant: Variant, upstream: Server, streams: int) -> Numbers:
    """Measure the memory of open streams that all advance; wants a freshly started server.

    Raises `RuntimeError` where a stream is refused or stands still: a figure would say nothing.
    """
    server = _server(variant)
    warm_up = await closed_loop(variant.port, variant.chat(Plan(tokens=TOKENS), stream=True), 8, 0.5)
    _check(warm_up, 1)
    left_before = await _open_upstream(upstream)
    before = server.memory_bytes()
    opened = await _held_open(variant, streams, gap_ms=max(2_000, streams // 2))
    after = server.memory_bytes()
    opened.abandon()
    seconds = await _until_closed(upstream, left_before)
    return {"kib": (after - before) / 1024 / streams, "advanced": streams, "closed_after_s": seconds}


async def _held_open(variant: Variant, streams: int, *, gap_ms: int) -> OpenStreams:
    """Open streams that do not end; returns when all were seen to advance."""
    plan = Plan(tokens=10_000, gap_ms=gap_ms, first_ms=500)
    opened = OpenStreams()
    await opened.open(variant.port, variant.chat(plan, stream=True), streams, streams / _OPENED_A_SECOND)
    await _until_all_advance(opened, streams, gap_ms / 1_000)
    return opened


async def _until_all_advance(opened: OpenStreams, streams: int, gap_seconds: float) -> None:
    for _ in range(_MOST_LOOKS):
        seen = opened.received()
        await asyncio.sleep(gap_seconds * 1.5 + 1)
        if opened.result.failures:
            break
        if all(now > earlier for now, earlier in zip(opened.received(), seen, strict=True)):
            return
    raise RuntimeError(f"{opened.result.failures} of {streams} streams failed, or some stand still")


async def _until_closed(upstream: Server, left_before: int) -> float:
    """Return the seconds until the upstream's streams are closed, or infinity where they stay open."""
    for looks in range(_MOST_CLOSING_LOOKS):
        if await _open_upstream(upstream) <= left_before:
            return looks / 2
        await asyncio.sleep(0.5)
    return float("inf")


async def _open_upstream(upstream: Server) -> int:
    body = (await fetch(upstream.port, http_request("GET", "/stats"))).partition(b"\r\n\r\n")[2]
    return int(orjson.loads(body)["open_streams"])


async def _saturated(
    variant: Variant, upstream: Server, load: Load, request: Request, *, settle: float = 0.0
) -> Numbers:
    _check(await closed_loop(variant.port, request, load.connections, load.seconds / 4), 1)
    if settle:
        await asyncio.sleep(settle)
    watch = Watch(_server(variant), upstream)
    result = await closed_loop(variant.port, request, load.connections, load.seconds)
    if settle:
        await asyncio.sleep(settle)
    _check(result, 1)
    return watch.numbers(result.count, result.seconds)


def _check(result: Result, at_least: int) -> None:
    if result.failures or result.count < at_least:
        raise RuntimeError(f"{result.failures} requests failed, {result.count} succeeded")


def _server(variant: Variant) -> Server:
    assert variant.server
    return variant.server


def _percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


Measure = Callable[[Variant, Server, Load], Awaitable[Numbers]]
OfStreams = Callable[[Variant, Server, int], Awaitable[Numbers]]
