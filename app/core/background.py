"""Tasks that outlive their request."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class BackgroundTasks:
    """Runs tasks, logs their failures, and waits for them at shutdown."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start `work`, independent of the request."""
        task = asyncio.create_task(work)
        # The event loop keeps weak references only.
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def drain(self, timeout_seconds: float) -> None:
        """Wait for all tasks, then cancel those that are left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("background_task_failed", error=type(failure).__name__)


async def stop_task(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
