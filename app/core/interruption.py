"""Breaking off a request's work, but not in the middle of what must be whole.

A task of its own behind `asyncio.shield` would do as much, and costs a twentieth of a whole chat.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

_blocks: dict["asyncio.Task[Any]", "Unbroken"] = {}


def interrupt(task: "asyncio.Task[Any]") -> None:
    """Cancel a task; one inside an `Unbroken` block is only told, and sees to its own end after the block."""
    block = _blocks.get(task)
    if block is None:
        task.cancel()
    else:
        block.is_interrupted = True


class Unbroken:
    """A block that `interrupt` does not cut; whoever wrote it asks `is_interrupted` behind it."""

    __slots__ = ("_task", "is_interrupted")

    def __init__(self) -> None:
        self.is_interrupted = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a block must run in a task")
        self._task = task
        _blocks[task] = self
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        del _blocks[self._task]
