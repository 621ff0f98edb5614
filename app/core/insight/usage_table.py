"""The store's table of what the responses of the model used."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import select, update

from app.core.insight.usage_log import UsageRow
from app.core.store.database import Database
from app.core.store.tables import USAGE


@dataclass(eq=False)
class UsageTable:
    """Reads and writes the table; every method raises `StoreAwayError`."""

    database: Database

    async def add(self, rows: Sequence[UsageRow]) -> None:
        """Add rows; one of a response that is there already, as another replica saw it too, is left out."""
        statement = self.database.insert(USAGE).on_conflict_do_nothing()
        values = [asdict(row) for row in rows]
        await self.database.run(lambda connection: connection.execute(statement, values))

    async def trace_of(self, run_id: str) -> str | None:
        """Return the trace and span of a run, by the upstream id of its first response."""
        query = select(USAGE.c.trace).where(USAGE.c.response_id == run_id)
        found: str | None = (await self.database.run(lambda connection: connection.execute(query))).scalar()
        return found

    async def forget(self, user_hashes: Sequence[str]) -> None:
        """Take a user's hashes out of all rows."""
        mine = USAGE.c.user_hash.in_(user_hashes)
        statement = update(USAGE).where(mine).values(user_hash=None)
        await self.database.run(lambda connection: connection.execute(statement))
