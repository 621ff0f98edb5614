"""Reads and writes what a conversation's metadata remembers of its runs: see `RunHistory`.

Writers of one conversation in this process take turns; a read waits for what this process still has to write,
so that a client reads its own writes. A concurrent write of another replica can drop an entry: the history is
for lists, and no run depends on it for being read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from app.core.errors import ServiceError
from app.core.upstream.conversations import Conversations
from app.translate.events import Json
from app.translate.run_metadata import RunHistory, private_metadata, public_metadata, without_history

_log = structlog.get_logger(__name__)
Change = Callable[[RunHistory], None]


@dataclass(slots=True)
class _Pending:
    """Changes of one conversation that are still to be written, and the task that writes them."""

    changes: list[Change] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    written: Json | None = None
    """The conversation after the last write; None if that failed."""


class ConversationMetadata:
    """The metadata of conversations, each changed by one writer of this process at a time."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._pending: dict[str, _Pending] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def changing(self, conversation_id: str) -> asyncio.Lock:
        """Return the lock to hold from reading a conversation's metadata until it is written back."""
        return self._locks.setdefault(conversation_id, asyncio.Lock())

    async def current(self, conversation_id: str) -> Json:
        """Return the conversation as it is; to be followed by a write with `changing` held."""
        return await self._conversations.get(conversation_id)

    async def set_private(self, conversation: Json, ours: dict[str, str]) -> None:
        """Set some of our own metadata keys of a conversation that was just read, with `changing` held."""
        merged = {**(conversation.get("metadata") or {}), **ours}
        await self._conversations.set_metadata(conversation["id"], merged)

    async def read(self, conversation_id: str) -> tuple[Json, RunHistory]:
        """Return the conversation and its run history."""
        written = await self.settle(conversation_id)
        conversation = written or await self._conversations.get(conversation_id)
        return conversation, RunHistory.read(conversation.get("metadata"))

    def note_run(self, conversation_id: str, response_id: str) -> None:
        """Remember a new run, beside the request."""
        self._schedule(conversation_id, lambda history: history.add_run(response_id))

    async def note(self, conversation_id: str, change: Change) -> None:
        """Change the history and wait until it is written: for what later calls depend on."""
        self._schedule(conversation_id, change)
        await self.settle(conversation_id)

    async def set_public_metadata(
        self, conversation_id: str, metadata: dict[str, str] | None, ours: dict[str, str] | None
    ) -> Json:
        """Replace the client's metadata and set some of ours; None leaves the one or the other as it is."""
        await self.settle(conversation_id)
        async with self.changing(conversation_id):
            before = (await self._conversations.get(conversation_id)).get("metadata")
            public = public_metadata(before) if metadata is None else metadata
            merged = public | private_metadata(before) | (ours or {})
            return await self._conversations.set_metadata(conversation_id, merged)

    async def settle(self, conversation_id: str) -> Json | None:
        """Wait until what this process noted of the conversation is written; return it, if anything was."""
        written = None
        while pending := self._pending.get(conversation_id):
            if pending.task is not None:
                await asyncio.shield(pending.task)
            written = pending.written
        return written

    async def drain(self) -> None:
        """Write everything that is still noted; called at shutdown."""
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
            while pending.changes:
                changes, pending.changes = pending.changes, []
                pending.written = None
                pending.written = await self._apply(conversation_id, changes)
        except ServiceError as exc:
            _log.warning("run_history_not_written", code=exc.code)
        finally:
            del self._pending[conversation_id]

    async def _apply(self, conversation_id: str, changes: list[Change]) -> Json:
        """Return the conversation as it is then; not every upstream repeats the metadata in its answer."""
        async with self.changing(conversation_id):
            metadata = (await self._conversations.get(conversation_id)).get("metadata")
            history = RunHistory.read(metadata)
            for change in changes:
                change(history)
            changed = without_history(metadata) | history.metadata()
            written = await self._conversations.set_metadata(conversation_id, changed)
            return written | {"metadata": changed}
