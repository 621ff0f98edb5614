"""Leases in the store, by name."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.store.database import Database
from app.core.store.tables import LEASES

_PREFIX = "tools:"


class StoredLeases:
    """Leases that say only that somebody is at work; implements `SharedLeases` of the tool leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self, names: Sequence[str], seconds: float) -> None:
        """Take leases, or keep them, for so long from now."""

        async def work(connection: AsyncConnection) -> None:
            until = self._database.now() + seconds
            for name in names:
                held = update(LEASES).where(LEASES.c.name == _PREFIX + name).values(expires_at=until)
                if (await connection.execute(held)).rowcount == 0:
                    await connection.execute(insert(LEASES).values(name=_PREFIX + name, expires_at=until))

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
