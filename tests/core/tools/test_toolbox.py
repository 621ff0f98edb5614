"""The calling of tools: hostile ones, and how calls are counted."""

import asyncio
import json
import threading

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.core.observability.metrics import Metrics
from app.core.tools.port import ToolCall
from app.core.tools.toolbox import BUSY, FAILED, TIMED_OUT, UNKNOWN
from tests.core.tools.support import CALLER, called, outcome, toolbox
from tests.support import until

HOSTILE = """
import asyncio, datetime, decimal, sys, threading, time
from dataclasses import dataclass
from pydantic import BaseModel

class Row(BaseModel):
    id: int
    at: datetime.date

@dataclass
class Point:
    x: float

class Odd:
    pass

ring = []
ring.append(ring)
deep = []
for _ in range(2_000):
    deep = [deep]

async def late(): ...

def answers(name):
    return {
        "text": lambda: "as it is",
        "rows": lambda: [Row(id=1, at=datetime.date(2026, 1, 2))],
        "point": lambda: {"p": Point(1.5), "d": decimal.Decimal("1.10"), "s": {1}},
        "none": lambda: None,
        "nan": lambda: {"x": float("nan")},
        "infinity": lambda: float("inf"),
        "bytes": lambda: b"\\xff",
        "object": lambda: Odd(),
        "generator": lambda: (x for x in iter(int, 1)),
        "ring": lambda: ring,
        "deep": lambda: deep,
        "keys": lambda: {(1, 2): 3},
        "half": lambda: "\\ud800",
        "half_inside": lambda: ["\\udfff"],
        "large": lambda: "x" * 10_000_000,
        "large_list": lambda: ["\\u00e9"] * 1_000_000,
        "wide": lambda: "\\u00e9" * 60_000,
        "coroutine": lambda: late(),
    }[name]()

@tool
def give(name: str): return answers(name)

@tool
async def give_async(name: str): return answers(name)

@tool
def fails(kind: str): throw(kind)

@tool
async def fails_async(kind: str): throw(kind)

def throw(kind):
    raise {
        "value": ValueError("secret words"),
        "exit": SystemExit(1),
        "interrupt": KeyboardInterrupt(),
        "generator_exit": GeneratorExit(),
        "stop": StopIteration(),
        "group": BaseExceptionGroup("secret words", [SystemExit(1)]),
        "cancelled": asyncio.CancelledError(),
        "timeout": TimeoutError("secret words"),
        "recursion": RecursionError(),
        "told": ToolError("No such city."),
        "told_half": ToolError("half \\ud800"),
    }[kind]

@tool
def noisy():
    print("printed")
    sys.stderr.write("written")
    return "quiet"
"""


@pytest.mark.parametrize("tool", ["give", "give_async"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("text", "as it is"),
        ("rows", '[{"id": 1, "at": "2026-01-02"}]'),
        ("point", '{"p": {"x": 1.5}, "d": "1.10", "s": [1]}'),
        ("none", "null"),
    ],
)
async def test_what_a_tool_returns_becomes_text(tmp_path, tool, name, text):
    box = toolbox(tmp_path, HOSTILE)
    assert outcome(await called(box, tool, json.dumps({"name": name}))) == ("ok", text)


NO_JSON = "The tool returned what JSON cannot hold."
NO_TEXT = "The tool returned text that cannot be sent."
TOO_LONG = "The tool returned more than 100000 bytes. Ask for less."


@pytest.mark.parametrize("tool", ["give", "give_async"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[(name, NO_JSON) for name in ("nan", "infinity", "bytes", "object", "generator", "ring", "deep")],
        *[(name, NO_JSON) for name in ("keys", "coroutine")],
        *[(name, NO_TEXT) for name in ("half", "half_inside")],
        *[(name, TOO_LONG) for name in ("large", "large_list", "wide")],
    ],
)
async def test_what_cannot_be_sent_becomes_a_short_error(tmp_path, tool, name, text):
    box = toolbox(tmp_path, HOSTILE)
    assert outcome(await called(box, tool, json.dumps({"name": name}))) == ("error", text)


@pytest.mark.parametrize("tool", ["fails", "fails_async"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[(kind, FAILED) for kind in ("value", "exit", "interrupt", "generator_exit", "stop", "group")],
        *[(kind, FAILED) for kind in ("cancelled", "timeout", "recursion")],
        ("told", "No such city."),
        ("told_half", "half ?"),
    ],
)
async def test_exceptions_stay_inside(tmp_path, tool, kind, text):
    box = toolbox(tmp_path, HOSTILE)
    with structlog.testing.capture_logs() as logs:
        found = await called(box, tool, json.dumps({"kind": kind}))
    assert outcome(found) == ("error", text)
    assert [(log["event"], log["call_id"]) for log in logs] == [
        ("tool_failed", f"call_{tool}"),
        ("tool_called", f"call_{tool}"),
    ]
    assert "secret" not in repr(logs)


async def test_printing_harms_nobody(tmp_path):
    assert outcome(await called(toolbox(tmp_path, HOSTILE), "noisy")) == ("ok", "quiet")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("{", "The arguments are not valid JSON."),
        ("[1]", "The arguments are not a JSON object."),
        ("null", "The arguments are not a JSON object."),
        ('{"name": NaN}', "The arguments are not valid JSON."),
        ('{"name": "\\ud800"}', "The arguments are not valid JSON."),
        ('{"name": "\ud800"}', "The arguments are not valid JSON."),
        ("[" * 100_000, "The arguments are not valid JSON."),
        ("", "The arguments do not fit: name: Field required."),
        ('{"name": 5}', "The arguments do not fit: name: Input should be a valid string."),
        (
            '{"name": "x", "__class__": 1}',
            "The arguments do not fit: __class__: Extra inputs are not permitted.",
        ),
    ],
)
async def test_bad_arguments_are_explained_to_the_model(tmp_path, arguments, text):
    found = await called(toolbox(tmp_path, HOSTILE), "give", arguments)
    assert outcome(found) == ("bad_arguments", text)


@pytest.mark.parametrize(
    "name", ["throw", "answers", "late", "__import__", "os.system", "", "Give", "x" * 9_999]
)
async def test_only_what_is_marked_can_be_called(tmp_path, name):
    assert outcome(await called(toolbox(tmp_path, HOSTILE), name)) == ("unknown", UNKNOWN)


HANGING = """
import asyncio, threading
release = threading.Event()
@tool(timeout_seconds=0.05)
def hangs():
    release.wait()
@tool(timeout_seconds=20)
def waits():
    release.wait()
    return "done"
@tool(timeout_seconds=0.05)
async def sleeps():
    await asyncio.sleep(3600)
@tool(timeout_seconds=20)
async def sleeps_long():
    await asyncio.sleep(3600)
@tool(timeout_seconds=0.05)
async def stubborn():
    while not release.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture
def release():
    """What ends the hanging tools; the module that has it is loaded by the test."""
    import sys

    def release_all():
        sys.modules["soloist_tools_my_tools"].release.set()

    yield release_all
    release_all()


async def test_a_hung_function_holds_its_thread_and_a_full_pool_is_busy_at_once(tmp_path, release):
    box = toolbox(tmp_path, HANGING, tool_threads=2)
    assert [outcome(await called(box, "hangs")) for _ in range(3)] == [
        ("timeout", TIMED_OUT),
        ("timeout", TIMED_OUT),
        ("busy", BUSY),
    ]
    assert (box.busy_threads, box.hung_calls) == (2, 2)
    release()
    await until(lambda: not box.busy_threads)
    assert box.hung_calls == 0
    assert outcome(await called(box, "waits")) == ("ok", "done")


async def test_an_async_tool_is_cancelled_after_its_time(tmp_path, release):
    box = toolbox(tmp_path, HANGING)
    assert outcome(await called(box, "sleeps")) == ("timeout", TIMED_OUT)
    await until(lambda: not box.hung_calls)


async def test_nobody_waits_for_one_that_ignores_its_cancellation(tmp_path, release):
    box = toolbox(tmp_path, HANGING)
    assert outcome(await called(box, "stubborn")) == ("timeout", TIMED_OUT)
    assert box.hung_calls == 1
    release()
    await until(lambda: not box.hung_calls)


async def test_a_cancelled_call_cancels_an_async_tool_and_leaves_a_thread(tmp_path, release):
    metrics = Metrics()
    box = toolbox(tmp_path, HANGING, metrics)
    calls = [asyncio.create_task(called(box, name)) for name in ("sleeps_long", "waits")]
    await until(lambda: box.busy_threads)
    for call in calls:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError] * 2
    await until(lambda: box.hung_calls == 1)
    assert 'soloist_tool_calls_total{outcome="cancelled",tool="waits"} 1.0' in metrics.render().decode()
    release()
    await until(lambda: not box.busy_threads)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_closing_cancels_what_runs(tmp_path, release):
    box = toolbox(tmp_path, HANGING)
    call = asyncio.create_task(called(box, "sleeps_long"))
    await until(lambda: box._running)
    await box.aclose()
    assert outcome(await call) == ("error", FAILED)


async def test_functions_run_side_by_side_and_off_the_loop(tmp_path):
    source = """
    import threading
    barrier = threading.Barrier(3)
    @tool
    def meet():
        barrier.wait(20)
        return threading.current_thread() is threading.main_thread()
    """
    box = toolbox(tmp_path, source)
    found = await asyncio.gather(*(called(box, "meet") for _ in range(3)))
    assert [outcome(each) for each in found] == [("ok", "false")] * 3
    assert threading.active_count() < 20


async def test_calls_are_counted_by_tool_and_outcome(tmp_path):
    metrics = Metrics()
    box = toolbox(tmp_path, "@tool\ndef f(a: int): return a", metrics)
    for name, arguments in [("f", '{"a": 1}'), ("f", '{"a": 2}'), ("f", "{}"), ("invented", "{}")]:
        await box.execute(ToolCall("call_1", name, arguments, CALLER))
    lines = metrics.render().decode().splitlines()
    assert [line for line in lines if line.startswith("soloist_tool_calls_total")] == [
        'soloist_tool_calls_total{outcome="ok",tool="f"} 2.0',
        'soloist_tool_calls_total{outcome="bad_arguments",tool="f"} 1.0',
        'soloist_tool_calls_total{outcome="unknown",tool="unknown"} 1.0',
    ]
    assert 'soloist_tool_seconds_count{tool="f"} 3.0' in lines
    assert "soloist_tool_busy_threads 0.0" in lines
    assert "soloist_tool_hung_calls 0.0" in lines


async def test_each_call_is_a_span_without_content(tmp_path):
    box = toolbox(tmp_path, HOSTILE)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    box._tracing._tracer = provider.get_tracer("test")
    await called(box, "noisy")
    await called(box, "fails", '{"kind": "value"}')
    fine, failed = exporter.get_finished_spans()
    assert (fine.name, dict(fine.attributes or {})) == (
        "execute_tool noisy",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "noisy",
            "gen_ai.tool.call.id": "call_noisy",
            "gen_ai.tool.type": "function",
        },
    )
    assert (failed.attributes or {})["error.type"] == "error"
    assert not failed.events
    provider.shutdown()
