"""Notice that a client disconnects while its answer is being prepared."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive

from app.core.errors import ClientGoneError

# Most answers are ready by then, and so need no task that watches their client.
_LOOKS_AFTER_SECONDS = 0.2


class ClientWatch:
    """Cancels its block when the client disconnects, and raises `ClientGoneError`.

    The request's body must have been read, so that `receive` returns nothing but the disconnect. `on_gone` is
    called at once, before the block has ended.
    """

    def __init__(self, receive: Receive, on_gone: Callable[[], None] | None = None) -> None:
        self._receive = receive
        self._on_gone = on_gone
        self._is_gone = False
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_LOOKS_AFTER_SECONDS, self._look)

    async def __aexit__(self, kind: type[BaseException] | None, _exc: object, _trace: object) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._is_gone:
            uncancel()
            if kind is None or issubclass(kind, asyncio.CancelledError):
                raise ClientGoneError

    def _look(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._is_gone = True
        if self._on_gone:
            self._on_gone()
        if self._task:
            self._task.cancel()


def uncancel() -> None:
    """Take back the current task's cancellations, so that its clean-up can await."""
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()
