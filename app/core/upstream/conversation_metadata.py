"""Reads and writes the run history in a conversation's metadata: see `RunHistory`.

Writers of one conversation take turns, and a read waits for this process's pending writes so that a client
reads its own writes. Without Redis, a concurrent write of another replica can drop an entry. That is
acceptable: the history serves lists, and a run can be read without it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import structlog

from app.core.errors import ServiceError
from app.core.limits.shared_locks import SharedLocks
from app.core.upstream.conversations import Conversations
from app.translate.events import Json
from app.translate.run_metadata import RunHistory, private_metadata, public_metadata, without_history

_log = structlog.get_logger(__name__)
Change = Callable[[RunHistory], None]


@dataclass(slots=True)
class _Pending:
    """Changes of one conversation that are not written yet, and the task that writes them."""

    changes: list[Change] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    written: Json | None = None
    """The conversation after the last write; None if it failed."""


class ConversationMetadata:
    """Changes the metadata of conversations, with one writer at a time for each."""

    def __init__(self, conversations: Conversations, locks: SharedLocks) -> None:
        self._conversations = conversations
        self._locks = locks
        self._pending: dict[str, _Pending] = {}

    def changing(self, conversation_id: str) -> AbstractAsyncContextManager[None]:
        """Return the lock to hold from reading a conversation's metadata to writing it back."""
        return self._locks.holding(conversation_id)

    async def current(self, conversation_id: str) -> Json:
        """Read the conversation before a change of its metadata; call it with `changing` held."""
        return await self._conversations.get(conversation_id)

    async def set_private(self, conversation: Json, ours: dict[str, str]) -> None:
        """Set some metadata keys of ours in a conversation from `current`; call it with `changing` held."""
        merged = {**(conversation.get("metadata") or {}), **ours}
        await self._conversations.set_metadata(conversation["id"], merged)

    async def read(self, conversation_id: str) -> tuple[Json, RunHistory]:
        """Return the conversation and its run history."""
        written = await self.settle(conversation_id)
        conversation = written or await self._conversations.get(conversation_id)
        return conversation, RunHistory.read(conversation.get("metadata"))

    def note_run(self, conversation_id: str, response_id: str) -> None:
        """Add a new run to the history in the background."""
        self._schedule(conversation_id, lambda history: history.add_run(response_id))

    def note_soon(self, conversation_id: str, change: Change) -> None:
        """Change the history in the background; `settle` waits until that is written."""
        self._schedule(conversation_id, change)

    async def note(self, conversation_id: str, change: Change) -> None:
        """Change the history and wait until that is written, because later calls depend on it."""
        self._schedule(conversation_id, change)
        await self.settle(conversation_id)

    async def set_public_metadata(
        self, conversation_id: str, metadata: dict[str, str] | None, ours: dict[str, str] | None
    ) -> Json:
        """Replace the client's metadata and set some keys of ours; None leaves either unchanged."""
        await self.settle(conversation_id)
        async with self.changing(conversation_id):
            before = (await self._conversations.get(conversation_id)).get("metadata")
            public = public_metadata(before) if metadata is None else metadata
            merged = public | private_metadata(before) | (ours or {})
            return await self._conversations.set_metadata(conversation_id, merged)

    async def settle(self, conversation_id: str) -> Json | None:
        """Wait for pending changes of the conversation; return it as written, or None if nothing was."""
        written = None
        while pending := self._pending.get(conversation_id):
            if pending.task is not None:
                # Shielded, as several requests may wait for the same write.
                await asyncio.shield(pending.task)
            written = pending.written
        return written

    async def drain(self) -> None:
        """Write all pending changes; call it at shutdown."""
        for conversation_id in list(self._pending):
            await self.settle(conversation_id)

    def _schedule(self, conversation_id: str, change: Change) -> None:
        pending = self._pending.get(conversation_id)
        if pending is None:
            pending = self._pending[conversation_id] = _Pending()
            pending.task = asyncio.create_task(self._write(conversation_id, pending))
        pending.changes.append(change)

    async def _write(self, conversation_id: str, pending: _Pending) -> None:
        try:
            # Changes that arrive during a write are written together in the next one.
            while pending.changes:
                changes, pending.changes = pending.changes, []
                pending.written = None
                pending.written = await self._apply(conversation_id, changes)
        except ServiceError as exc:
            # Lists lack a run then, which is no reason to fail the request.
            _log.warning("run_history_not_written", code=exc.code)
        finally:
            del self._pending[conversation_id]

    async def _apply(self, conversation_id: str, changes: list[Change]) -> Json:
        """Make the changes and return the conversation.

        Its metadata is what was written, since not every upstream repeats that in its answer.
        """
        async with self.changing(conversation_id):
            metadata = (await self._conversations.get(conversation_id)).get("metadata")
            history = RunHistory.read(metadata)
            for change in changes:
                change(history)
            changed = without_history(metadata) | history.metadata()
            written = await self._conversations.set_metadata(conversation_id, changed)
            return written | {"metadata": changed}
