"""Notes threads in the directory, beside the work of requests."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from app.core.background import BackgroundTasks
from app.core.caller import current_owner
from app.core.directory.thread_table import ThreadTable
from app.core.store.database import StoreAwayError
from app.translate.events import Json
from app.translate.objects import conversation_time
from app.translate.run_metadata import public_metadata
from app.translate.titles import one_line, title_of
from app.utils.ids import created_at_of

_WAIT_SECONDS = 2.0
"""How long the answer to the creation or deletion of a thread waits for the directory."""

_READ_SECONDS = 5.0
"""How long a list waits for writes of this process."""

_MOST_PENDING = 10_000
"""Writes that wait for a store that is away; what comes after them is not noted."""


class ThreadDirectory:
    """Notes threads under the owner of the current request.

    What is noted is written in the background, so that it costs no time and a store that is away fails no
    chat. A thread whose entry was lost gets one with its next turn.

    Args:
        table: where the entries are.
        background: runs the writes.
        is_used: tells whether the service keeps a directory.

    """

    def __init__(self, table: ThreadTable, background: BackgroundTasks, is_used: Callable[[], bool]) -> None:
        self.table = table
        self._background = background
        self._is_used = is_used
        self._pending: dict[asyncio.Task[None], str] = {}
        """The writes under way, with their owners."""
        self._last: dict[str, asyncio.Task[None]] = {}
        """The last of the pending writes of each conversation."""

    @property
    def is_used(self) -> bool:
        """Whether the service keeps a directory."""
        return self._is_used()

    async def created(self, conversation: Json, items: object) -> None:
        """Add the thread of a new conversation, and wait until it is there unless the store is away."""
        task = self._note(
            str(conversation["id"]),
            created_at=conversation_time(conversation),
            title=title_of(items),
            metadata=public_metadata(conversation.get("metadata")),
        )
        await self._wait(task)

    def active(self, conversation_id: str, items: object) -> None:
        """Note that items were added to a thread or a turn was begun."""
        self._note(conversation_id, created_at=created_at_of(conversation_id), title=title_of(items))

    def asked_anew(self, conversation_id: str, before: list[Json], now: list[Json]) -> None:
        """Note that a thread begins with another question; a title that somebody gave it stays."""
        old, new = title_of(before), title_of(now)
        if self.is_used and old is not None and new is not None:
            self._spawn(conversation_id, self.table.replace_title(conversation_id, old, new))

    def metadata_changed(self, conversation_id: str, metadata: Mapping[str, Any]) -> None:
        """Note new metadata of a thread; `metadata` includes keys of ours."""
        changed = self.table.set_metadata(conversation_id, public_metadata(metadata))
        self._spawn(conversation_id, changed)

    async def removed(self, conversation_id: str) -> None:
        """Remove a thread that was deleted."""
        await self._wait(self._spawn(conversation_id, self.table.delete(conversation_id)))

    async def set_title(self, conversation: Json, owner: str, title: str) -> None:
        """Set a thread's title; raises `StoreAwayError`."""
        began_at = conversation_time(conversation)
        await self.table.set_title(str(conversation["id"]), owner, began_at, one_line(title))

    async def written(self, owner: str) -> None:
        """Wait, bounded, until what this process noted for an owner is written."""
        if tasks := [task for task, noted_for in self._pending.items() if noted_for == owner]:
            await asyncio.wait(tasks, timeout=_READ_SECONDS)

    async def drain(self) -> None:
        """Wait, bounded, for all writes; call it at shutdown, when nothing more is noted."""
        # The last work of other tasks is noted after the background tasks were waited for.
        if self._pending:
            _, late = await asyncio.wait(list(self._pending), timeout=_READ_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _note(self, conversation_id: str, **facts: Any) -> "asyncio.Task[None] | None":
        owner = current_owner.get()
        # Only a request has an owner; what the service does by itself is no activity.
        if owner is None:
            return None
        return self._spawn(conversation_id, self.table.touch(conversation_id, owner, **facts), owner)

    def _spawn(
        self, conversation_id: str, write: Coroutine[Any, Any, None], owner: str = ""
    ) -> "asyncio.Task[None] | None":
        if len(self._pending) >= _MOST_PENDING:
            write.close()
            return None
        task = self._background.spawn(_after(self._last.get(conversation_id), write))
        self._pending[task], self._last[conversation_id] = owner, task
        task.add_done_callback(lambda _: self._forget(conversation_id, task))
        return task

    async def _wait(self, task: "asyncio.Task[None] | None") -> None:
        """Wait, bounded, for a write unless the store is away."""
        if task is not None and not self.table.database.is_away:
            await asyncio.wait([task], timeout=_WAIT_SECONDS)

    def _forget(self, conversation_id: str, task: "asyncio.Task[None]") -> None:
        del self._pending[task]
        if self._last.get(conversation_id) is task:
            del self._last[conversation_id]


async def _after(before: "asyncio.Task[None] | None", write: Coroutine[Any, Any, None]) -> None:
    """Write after an earlier write of the same thread."""
    try:
        if before is not None:
            await asyncio.wait([before])
        # The database logs it when it goes away.
        with suppress(StoreAwayError):
            await write
    finally:
        write.close()
