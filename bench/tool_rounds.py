"""What the service adds to a round of tool calls, beyond the upstream and the tool."""

import statistics
from dataclasses import dataclass

from bench.load import closed_loop
from bench.measures import Numbers
from bench.variants import Variant
from bench.wire import Plan

_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class _Cost:
    """The median time of a request and the CPU time of one, in milliseconds."""

    p50_ms: float
    cpu_ms: float


async def tool_rounds(variant: Variant, alone: Variant, seconds: float, *, stream: bool) -> Numbers:
    """Compare a chat with calls of a tool that takes no time to a chat without, one request at a time.

    `alone` is the upstream, whose own time for a round is taken off.
    """
    upstream = await _cost(alone, Plan(tokens=1, rounds=_ROUNDS), seconds, stream=stream)
    plain = await _cost(variant, Plan(tokens=1), seconds, stream=stream)
    calling = await _cost(variant, Plan(tokens=1, rounds=_ROUNDS), seconds, stream=stream)
    return {
        "added_ms": (calling.p50_ms - plain.p50_ms) / _ROUNDS - upstream.p50_ms,
        "round_cpu_ms": (calling.cpu_ms - plain.cpu_ms) / _ROUNDS,
        "chat_ms": plain.p50_ms,
        "chat_with_calls_ms": calling.p50_ms,
        "upstream_ms": upstream.p50_ms,
    }


async def _cost(asked: Variant, plan: Plan, seconds: float, *, stream: bool) -> _Cost:
    assert asked.server
    request = asked.chat(plan, stream=stream)
    await closed_loop(asked.port, request, 1, seconds / 4)
    before = asked.server.cpu_seconds()
    result = await closed_loop(asked.port, request, 1, seconds)
    if result.failures:
        raise RuntimeError(f"{result.failures} requests failed, {result.count} succeeded")
    cpu = (asked.server.cpu_seconds() - before) / result.count
    return _Cost(statistics.median(result.latencies) * 1_000, cpu * 1_000)
