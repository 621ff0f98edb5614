"""Deletes threads that nobody has used for long, old responses and old usage, from one replica at a time."""

import asyncio
import secrets
from dataclasses import dataclass, field

import structlog

from app.core.directory.thread_directory import ThreadDirectory
from app.core.errors import ServiceError
from app.core.services.threads import Threads
from app.core.store.database import StoreAwayError
from app.core.store.maintenance import Maintenance

_log = structlog.get_logger(__name__)
_DAY_SECONDS = 86_400
_RESPONSE_DAYS = 30
"""How long an ended response can be read, as at OpenAI."""

_USAGE_DAYS = 400
"""How long the report can look back: a year and the month that it is compared with."""

_PAUSE_SECONDS = 300.0
_BATCH = 20


@dataclass(eq=False)
class Retention:
    """Sweeps the store every five minutes; `days` is how long idle threads are kept, None for ever."""

    directory: ThreadDirectory
    threads: Threads
    days: int | None
    maintenance: Maintenance = field(init=False)

    def __post_init__(self) -> None:
        """Name this process in the lease."""
        self.maintenance = Maintenance(self.directory.table.database, "retention", secrets.token_hex(8))

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            if not self.directory.is_used:
                continue
            try:
                await self.sweep()
            except StoreAwayError:
                # The database has logged it.
                continue
            except Exception as exc:  # noqa: BLE001 - one bad row must not end retention
                _log.error("retention_failed", error=type(exc).__name__)

    async def sweep(self) -> None:
        """Delete what is old, as long as this process holds the lease."""
        while await self.maintenance.take_lease():
            dropped = await self.maintenance.drop_ended_responses(_RESPONSE_DAYS * _DAY_SECONDS)
            dropped += await self.maintenance.drop_usage(_USAGE_DAYS)
            if not dropped:
                break
        if self.days is not None:
            await self._delete_idle(self.days * _DAY_SECONDS)

    async def _delete_idle(self, seconds: float) -> None:
        table, last, deleted = self.directory.table, None, 0
        while entries := await table.idle(seconds, limit=_BATCH, after=last):
            for entry in entries:
                if not await self.maintenance.take_lease():
                    return
                deleted += await self._delete(entry.conversation_id, seconds)
            last = entries[-1]
        if deleted:
            _log.info("idle_threads_deleted", count=deleted)

    async def _delete(self, conversation_id: str, seconds: float) -> bool:
        """Delete a thread unless it has been used meanwhile; one that cannot be deleted is tried later."""
        if not await self.directory.table.is_idle(conversation_id, seconds):
            return False
        try:
            await self.threads.delete_conversation(conversation_id)
        except StoreAwayError:
            raise
        except ServiceError as exc:
            _log.warning("idle_thread_not_deleted", code=exc.code)
            return False
        return True
