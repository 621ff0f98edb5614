"""Keeps the leases of this process alive while it works on their turns."""

import asyncio
from collections.abc import Callable

import structlog

from app.core.background import BackgroundTasks
from app.core.own_conversations.turn_records import Lease
from app.core.own_conversations.turn_table import LEASE_SECONDS, TurnTable
from app.core.store.database import StoreAwayError

_log = structlog.get_logger(__name__)
_RENEW_SECONDS = 1.0
"""Also how long it takes until a run stops that another replica was asked to cancel."""

_MOST_AT_ONCE = 500


class HeldLeases:
    """The leases that this process holds.

    Args:
        table: where the leases are.
        background: gives leases back.
        cancel: called with the ids of responses that another replica was asked to cancel.

    """

    def __init__(self, table: TurnTable, background: BackgroundTasks, cancel: Callable[[str], None]) -> None:
        self._table = table
        self._background = background
        self._cancel = cancel
        self._held: dict[str, Lease] = {}

    def add(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._held[lease.conversation_id] = lease

    def discard(self, lease: Lease) -> None:
        """Renew a lease no more."""
        if self._held.get(lease.conversation_id) == lease:
            del self._held[lease.conversation_id]

    async def give_back(self, lease: Lease, *, response_id: str | None = None) -> None:
        """Free a conversation unless its turn has ended, also if the caller is cancelled meanwhile."""
        if self._held.get(lease.conversation_id) == lease:
            self.discard(lease)
            await asyncio.shield(self._background.spawn(self._release(lease, response_id)))

    async def renew(self) -> None:
        """Renew all leases, for ever; one that cannot be renewed runs out."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            names = list(self._held)
            for start in range(0, len(names), _MOST_AT_ONCE):
                try:
                    async with asyncio.timeout(LEASE_SECONDS):
                        asked = await self._table.renew(names[start : start + _MOST_AT_ONCE])
                except (StoreAwayError, TimeoutError):
                    # The database has logged it.
                    continue
                except Exception as exc:  # noqa: BLE001 - as after a failover to a database that only reads
                    _log.error("leases_not_renewed", error=type(exc).__name__)
                    continue
                for response_id in asked:
                    self._cancel(response_id)

    async def _release(self, lease: Lease, response_id: str | None) -> None:
        try:
            await self._table.release(lease, response_id=response_id)
        except StoreAwayError:
            _log.warning("lease_not_given_back")
