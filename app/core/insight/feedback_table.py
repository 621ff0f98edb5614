"""The store's table of what users said of answers."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, func, select

from app.core.insight.rating import Rating
from app.core.store.database import Database
from app.core.store.tables import FEEDBACK

_KEY = ["conversation_id", "target", "owner"]


@dataclass(eq=False)
class FeedbackTable:
    """Reads and writes the table; every method raises `StoreAwayError`."""

    database: Database

    async def put(self, rating: Rating) -> Rating:
        """Store a rating in place of its owner's earlier one of the same answer, and return it as stored."""
        row = {name: getattr(rating, name) for name in Rating.__slots__}
        new = self.database.insert(FEEDBACK).values(row)
        changes = {name: new.excluded[name] for name in row if name not in _KEY}
        # Whoever rates a message may not know its run.
        changes["run_id"] = func.coalesce(new.excluded.run_id, FEEDBACK.c.run_id)
        statement = new.on_conflict_do_update(index_elements=_KEY, set_=changes)
        statement = statement.returning(FEEDBACK.c.run_id)
        stored = await self.database.run(lambda connection: connection.execute(statement))
        return replace(rating, run_id=stored.scalar())

    async def of_thread(self, conversation_id: str, owner: str) -> list[Rating]:
        """Return what an owner said of a thread's answers, oldest first."""
        query = (
            select(FEEDBACK)
            .where(FEEDBACK.c.conversation_id == conversation_id, FEEDBACK.c.owner == owner)
            .order_by(FEEDBACK.c.created_at, FEEDBACK.c.target)
        )
        rows = (await self.database.run(lambda connection: connection.execute(query))).all()
        return [_rating(row) for row in rows]

    async def forget(self, owner: str) -> None:
        """Delete all that an owner said."""
        gone = delete(FEEDBACK).where(FEEDBACK.c.owner == owner)
        await self.database.run(lambda connection: connection.execute(gone))


def _rating(row: Any) -> Rating:
    return Rating(**{name: getattr(row, name) for name in Rating.__slots__})
