"""Leases in the store, by name."""

import secrets
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.store.database import Database
from app.core.store.tables import LEASES

_PREFIX = "tools:"


class StoredLeases:
    """Leases that say only that somebody is at work; implements `SharedLeases` of the tool leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, seconds: float) -> bool:
        """Take a lease for so long from now, unless somebody holds it; return whether it was taken."""
        # A statement that is sent again after a lost connection knows its own lease by it.
        owner, now = secrets.token_hex(8), self._database.now()
        new = self._database.insert(LEASES).values(name=_PREFIX + name, expires_at=now + seconds, owner=owner)
        taking = new.on_conflict_do_update(
            index_elements=["name"],
            set_={"expires_at": now + seconds, "owner": owner},
            where=(LEASES.c.expires_at <= now) | (LEASES.c.owner == owner),
        )
        # The count of an upsert's rows is not told by every driver; what it returns is.
        taking = taking.returning(LEASES.c.name)
        return (await self._database.run(lambda connection: connection.execute(taking))).first() is not None

    async def renew(self, names: Sequence[str], seconds: float) -> None:
        """Take leases, or keep them, for so long from now."""
        until = self._database.now() + seconds

        async def work(connection: AsyncConnection) -> None:
            # In one order, so that replicas do not wait for each other.
            for name in sorted(names):
                new = self._database.insert(LEASES).values(name=_PREFIX + name, expires_at=until)
                held = new.on_conflict_do_update(index_elements=["name"], set_={"expires_at": until})
                await connection.execute(held)

        await self._database.run(work)

    async def give_back(self, name: str) -> None:
        """Free a lease."""
        gone = delete(LEASES).where(LEASES.c.name == _PREFIX + name)
        await self._database.run(lambda connection: connection.execute(gone))

    async def is_held(self, name: str) -> bool:
        """Return whether any replica holds a lease."""
        held = select(LEASES.c.name).where(
            LEASES.c.name == _PREFIX + name, LEASES.c.expires_at > self._database.now()
        )
        return (await self._database.run(lambda connection: connection.execute(held))).first() is not None
