"""The moment when a run is over, whatever it does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """Breaks off what is awaited when the moment comes: one timer for a run, not one for every read.

    Args:
        moment: on the loop's clock.

    """

    __slots__ = ("_has_come", "_task", "_timer")

    def __init__(self, moment: float) -> None:
        self._task: asyncio.Task[object] | None = None
        self._has_come = False
        self._timer = asyncio.get_running_loop().call_at(moment, self._come)

    async def within(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call; raises `TimeoutError` when the moment comes first, or came before."""
        task = self._task = asyncio.current_task()
        if self.has_come() or task is None:
            raise TimeoutError
        cancels_before = task.cancelling()
        try:
            return await call()
        except asyncio.CancelledError:
            if self.has_come() and task.uncancel() <= cancels_before:
                raise TimeoutError from None
            raise
        finally:
            self._task = None

    def has_come(self) -> bool:
        """Tell whether the moment came."""
        return self._has_come

    def cancel(self) -> None:
        """Let the moment pass."""
        self._timer.cancel()

    def _come(self) -> None:
        self._has_come = True
        if self._task is not None:
            self._task.cancel()
