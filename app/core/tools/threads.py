"""The threads in which plain functions run."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from app.core.tools.port import BusyError


class ToolThreads:
    """Runs functions in at most `size` threads; use it in one event loop.

    A thread cannot be stopped: a function that hangs holds its thread, and counts as hung once nobody waits
    for it. The threads are daemons, because those of an executor would keep the process from ending.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self.hung = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        """Return what the function returns, or raise what it raises; raises `BusyError` at once."""
        if self.busy >= self.size:
            raise BusyError
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[_Done] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            done = _Done(lambda: context.run(function))
            # The loop is closed where the process is about to end.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ended, waiting, done)

        threading.Thread(target=work, name="tool", daemon=True).start()
        self.busy += 1
        try:
            done = await waiting
        except asyncio.CancelledError:
            self.hung += waiting.cancelled()
            raise
        return done.result()

    def _ended(self, waiting: "asyncio.Future[_Done]", done: "_Done") -> None:
        self.busy -= 1
        if waiting.cancelled():
            self.hung -= 1
        else:
            waiting.set_result(done)


class _Done:
    """What a function returned or raised, `SystemExit` and `KeyboardInterrupt` too."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._value: Any = None
        self._raised: BaseException | None = None
        try:
            self._value = function()
        except BaseException as exc:  # noqa: BLE001 - a tool must not end the service
            self._raised = exc

    def result(self) -> Any:
        """Return the value, or raise the exception."""
        if self._raised is not None:
            raise self._raised
        return self._value
