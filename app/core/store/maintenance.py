"""Work on the whole store that one replica at a time does."""

import time
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.store.database import Database
from app.core.store.tables import LEASES, RESPONSES, USAGE

_LEASE_SECONDS = 60.0
_DAY_SECONDS = 86_400
_BATCH = 500


@dataclass(eq=False)
class Maintenance:
    """The lease `name`, which `owner` takes, and what its holder may do; methods raise `StoreAwayError`."""

    database: Database
    name: str
    owner: str

    async def take_lease(self) -> bool:
        """Take the lease for the next 60 seconds, or renew it; return whether this process has it."""
        now = self.database.now()
        there = self.database.insert(LEASES).values(name=self.name).on_conflict_do_nothing()
        is_free = or_(LEASES.c.owner.is_(None), LEASES.c.owner == self.owner, LEASES.c.expires_at < now)
        taken = (
            update(LEASES)
            .where(LEASES.c.name == self.name, is_free)
            .values(owner=self.owner, expires_at=now + _LEASE_SECONDS, fence=LEASES.c.fence + 1)
        )

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(there)
            return bool((await connection.execute(taken)).rowcount)

        return await self.database.run(work)

    async def drop_ended_responses(self, older_than_seconds: int) -> int:
        """Delete some responses that have ended and are as old; return how many."""
        some = (
            select(RESPONSES.c.id)
            .where(
                RESPONSES.c.is_live.is_(False),
                RESPONSES.c.created_at < self.database.now() - older_than_seconds,
            )
            .limit(_BATCH)
        )
        gone = delete(RESPONSES).where(RESPONSES.c.id.in_(some))
        return (await self.database.run(lambda connection: connection.execute(gone))).rowcount

    async def drop_usage(self, older_than_days: int) -> int:
        """Delete some rows of usage that are as old; return how many."""
        today = int(time.time() // _DAY_SECONDS)
        some = select(USAGE.c.response_id).where(USAGE.c.day < today - older_than_days).limit(_BATCH)
        gone = delete(USAGE).where(USAGE.c.response_id.in_(some))
        return (await self.database.run(lambda connection: connection.execute(gone))).rowcount
