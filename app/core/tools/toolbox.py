"""All tools that the service runs, and the calling of them."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import structlog
from opentelemetry.trace import Span

from app.core.config import Settings
from app.core.observability.metrics import Metrics
from app.core.telemetry import ToolTracing, mark_failed
from app.core.tools.arguments import parsed
from app.core.tools.functions import load_functions
from app.core.tools.output import text_of
from app.core.tools.port import BadArgumentsError, BusyError, Outcome, Tool, ToolCall, ToolResult
from app.core.tools.threads import ToolThreads
from app.core.tools.webhooks import load_webhooks
from app.tools import ToolError
from app.translate.events import Json

FAILED = "The tool failed."
TIMED_OUT = "The tool did not answer in time."
BUSY = "The tool is busy. Try again later."
UNKNOWN = "There is no tool of this name."
_UNKNOWN_NAME = "unknown"
_MOST_ERROR_CHARS = 2_000
_MOST_FRAMES = 5
_END_SECONDS = 2.0
_log = structlog.get_logger(__name__)


class Toolbox:
    """The tools by their names, and how they are called; build it once."""

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        settings: Settings | None = None,
        metrics: Metrics | None = None,
        threads: ToolThreads | None = None,
    ) -> None:
        settings = settings or Settings.model_construct()
        self._tools = {tool.name: tool for tool in tools}
        self.names = frozenset(self._tools)
        self.specs: list[Json] = [tool.spec for tool in tools]
        self._metrics = metrics
        self._tracing = ToolTracing()
        self._threads = threads or ToolThreads(settings.tool_threads)
        self._max_bytes = settings.tool_max_output_bytes
        self._running: set[asyncio.Task[Any]] = set()
        if metrics is not None:
            metrics.watch_tools(self)

    @classmethod
    def load(cls, settings: Settings, metrics: Metrics | None = None) -> Self:
        """Return the tools that the settings name, maybe none.

        Raises `ValueError`, in one line, for files that cannot be read and tools that cannot be called.
        """
        threads = ToolThreads(settings.tool_threads)
        tools: list[Tool] = [*load_functions(settings, threads), *load_webhooks(settings)]
        names = [tool.name for tool in tools]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"TOOLS_MODULE, TOOLS_FILE: two tools have the name {twice!r}; rename one")
        return cls(tools, settings, metrics, threads)

    @property
    def busy_threads(self) -> int:
        """Number of threads that a tool holds."""
        return self._threads.busy

    @property
    def hung_calls(self) -> int:
        """Number of calls that run on though nobody waits for them."""
        return self._threads.hung + sum(task.cancelling() > 0 for task in self._running)

    def get(self, name: str) -> Tool | None:
        """Return the tool of a name, if there is one."""
        return self._tools.get(name)

    @property
    def tools(self) -> list[Tool]:
        """All tools."""
        return list(self._tools.values())

    async def execute(self, call: ToolCall) -> ToolResult:
        """Carry a call out; whatever happens becomes a result, except `CancelledError`.

        A cancelled call of an async tool is cancelled; that of a plain function runs on in its thread.
        """
        started = time.perf_counter()
        tool = self._tools.get(call.name)
        name = call.name if tool else _UNKNOWN_NAME
        output, ended = UNKNOWN, "cancelled"
        outcome: Outcome = "unknown"
        with self._tracing.call(name, call.call_id) as span:
            try:
                if tool is not None:
                    output, outcome = await self._called(tool, call)
                ended = outcome
            finally:
                seconds = time.perf_counter() - started
                self._told(call, name, ended, seconds, span)
        return ToolResult(call.call_id, output, outcome, seconds)

    async def aclose(self) -> None:
        """Cancel what still runs, and wait a moment for its end."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_END_SECONDS)
        for tool in self._tools.values():
            if close := getattr(tool, "aclose", None):
                await close()

    async def _called(self, tool: Tool, call: ToolCall) -> tuple[str, Outcome]:
        try:
            value = await self._within_time(tool, parsed(call.arguments), call)
            return text_of(value, self._max_bytes), "ok"
        except BadArgumentsError as exc:
            return str(exc), "bad_arguments"
        except BusyError:
            return BUSY, "busy"
        except _TimedOutError:
            return TIMED_OUT, "timeout"
        except ToolError as exc:
            self._log_failure(call, exc)
            return _sendable(exc), "error"
        except _BrokenError as exc:
            self._log_failure(call, exc.cause)
            return FAILED, "error"

    async def _within_time(self, tool: Tool, arguments: Json, call: ToolCall) -> object:
        """Run a tool in a task of its own, which may ignore its cancellation; nobody waits for that."""
        task = asyncio.create_task(_guarded(tool, arguments, call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            done, _ = await asyncio.wait({task}, timeout=tool.timeout_seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            raise _TimedOutError
        if task.cancelled():
            raise _BrokenError(asyncio.CancelledError())
        found, exc = task.result()
        if isinstance(exc, BadArgumentsError | BusyError | ToolError):
            raise exc
        if exc is not None:
            raise _BrokenError(exc)
        return found

    def _told(self, call: ToolCall, name: str, ended: str, seconds: float, span: Span | None) -> None:
        if self._metrics is not None:
            self._metrics.tool_ended(name, ended, seconds)
        if span is not None and ended != "ok":
            mark_failed(span, ended)
        _log.info("tool_called", tool=name, call_id=call.call_id, outcome=ended, ms=round(seconds * 1_000, 1))

    @staticmethod
    def _log_failure(call: ToolCall, exc: BaseException) -> None:
        # Without the message, which may quote arguments.
        frames = traceback.extract_tb(exc.__traceback__)[-_MOST_FRAMES:]
        places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        _log.warning(
            "tool_failed", tool=call.name, call_id=call.call_id, error=type(exc).__name__, places=places
        )


class _TimedOutError(Exception):
    """The tool took too long."""


class _BrokenError(Exception):
    """The tool raised what the model is not told."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


async def _guarded(tool: Tool, arguments: Json, call: ToolCall) -> tuple[object, BaseException | None]:
    """Return what a tool returned, or raised: a task would hand `SystemExit` on to the event loop."""
    try:
        return await tool.run(arguments, call), None
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # noqa: BLE001 - a tool must not end the service
        return None, exc


def _sendable(exc: ToolError) -> str:
    """Return the text of an error for the model; JSON cannot carry half surrogates."""
    text = str(exc)[:_MOST_ERROR_CHARS] or FAILED
    return text.encode(errors="replace").decode()
