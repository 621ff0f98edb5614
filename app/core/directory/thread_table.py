"""The directory's table in the store. Threads have the ids of their upstream conversations here."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Row, case, cast, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.directory.entries import MICROSECONDS, Entry, EntryPage, UnknownCursorError
from app.core.store.database import Database
from app.core.store.json_text import json_text
from app.core.store.tables import FEEDBACK, THREADS, USAGE
from app.translate.titles import one_line

_PLACE = (THREADS.c.active_at, THREADS.c.conversation_id)
"""The order of lists, in which no two threads have the same place."""


@dataclass(eq=False)
class ThreadTable:
    """Reads and writes the directory; every method raises `StoreAwayError`."""

    database: Database

    async def touch(
        self,
        conversation_id: str,
        owner: str,
        *,
        created_at: int | None = None,
        title: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Note activity on a thread, and add it if it is not there; `title` counts if it has none."""
        row = _row(conversation_id, owner, created_at, title, metadata or {})
        touch = self._touch if metadata is None else self._touch_with_metadata
        await self.database.run(lambda connection: connection.execute(touch, row))

    async def set_title(self, conversation_id: str, owner: str, created_at: int | None, title: str) -> None:
        """Set a thread's title, and add the thread if it is not there."""
        row, new = _row(conversation_id, owner, created_at, title, {}), self._new
        change = new.on_conflict_do_update(index_elements=["conversation_id"], set_={"title": title})
        await self.database.run(lambda connection: connection.execute(change, row))

    async def replace_title(self, conversation_id: str, old: str, new: str) -> None:
        """Replace a title, if the thread has that one."""
        mine = THREADS.c.conversation_id == conversation_id
        await self._execute(update(THREADS).where(mine, THREADS.c.title == old).values(title=new))

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> None:
        """Set the metadata of a thread that is there."""
        text, mine = json_text(metadata), THREADS.c.conversation_id == conversation_id
        await self._execute(update(THREADS).where(mine, THREADS.c.metadata != text).values(metadata=text))

    async def delete(self, conversation_id: str) -> None:
        """Remove a thread and what was said of its answers; what they cost is kept, without its name."""
        statements = (
            delete(THREADS).where(THREADS.c.conversation_id == conversation_id),
            delete(FEEDBACK).where(FEEDBACK.c.conversation_id == conversation_id),
            update(USAGE).where(USAGE.c.conversation_id == conversation_id).values(conversation_id=None),
        )

        async def work(connection: AsyncConnection) -> None:
            for statement in statements:
                await connection.execute(statement)

        await self.database.run(work)

    async def page(self, page: EntryPage) -> tuple[list[Entry], bool]:
        """Return threads of an owner, and whether there are more; raises `UnknownCursorError`."""
        # With `before` alone the page ends there: it is read backwards and turned round.
        backwards = page.before is not None and page.after is None
        descends = page.is_descending != backwards

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            query = select(THREADS).where(THREADS.c.owner == page.owner)
            if page.only is not None:
                query = query.where(THREADS.c.conversation_id == page.only)
            # No title holds what is not printable, and PostgreSQL takes no NUL.
            if words := one_line(page.words or ""):
                query = query.where(THREADS.c.title.icontains(words, autoescape=True))
            if page.after is not None:
                place = await _place(connection, page.owner, page.after, "after")
                query = query.where(_beyond(place, descends=page.is_descending))
            if page.before is not None:
                place = await _place(connection, page.owner, page.before, "before")
                query = query.where(_beyond(place, descends=not page.is_descending))
            order = [column.desc() if descends else column for column in _PLACE]
            return (await connection.execute(query.order_by(*order).limit(page.limit + 1))).all()

        rows = await self.database.run(work)
        entries = [_entry(row) for row in rows[: page.limit]]
        return entries[::-1] if backwards else entries, len(rows) > page.limit

    async def idle(self, seconds: float, *, limit: int, after: Entry | None = None) -> list[Entry]:
        """Return threads of any owner without activity for so long, most idle first, after `after`."""
        query = select(THREADS).where(THREADS.c.active_at < self._now() - int(seconds * MICROSECONDS))
        if after is not None:
            query = query.where(_beyond((after.active_at, after.conversation_id), descends=False))
        query = query.order_by(*_PLACE).limit(limit)
        return [_entry(row) for row in await self._all(query)]

    async def is_idle(self, conversation_id: str, seconds: float) -> bool:
        """Return whether a thread is there and had no activity for so long."""
        since = self._now() - int(seconds * MICROSECONDS)
        mine = THREADS.c.conversation_id == conversation_id
        return bool(await self._all(select(THREADS).where(mine, THREADS.c.active_at < since)))

    @property
    def _new(self) -> Any:
        """The insert of a `_row` that is active now."""
        return self.database.insert(THREADS).values(active_at=self._now())

    # Every turn touches its thread, and takes longer to make the statement than to carry it out.
    @cached_property
    def _touch(self) -> Any:
        return self._touching()

    @cached_property
    def _touch_with_metadata(self) -> Any:
        return self._touching("metadata")

    def _touching(self, *more: str) -> Any:
        new = self._new
        later = (THREADS.c.active_at < new.excluded.active_at, new.excluded.active_at)
        changes = {
            "active_at": case(later, else_=THREADS.c.active_at),
            "title": func.coalesce(THREADS.c.title, new.excluded.title),
            **{name: new.excluded[name] for name in more},
        }
        return new.on_conflict_do_update(index_elements=["conversation_id"], set_=changes)

    def _now(self) -> ColumnElement[int]:
        return cast(self.database.now() * MICROSECONDS, BigInteger)

    async def _execute(self, statement: Any) -> None:
        await self.database.run(lambda connection: connection.execute(statement))

    async def _all(self, query: Any) -> Sequence[Row[Any]]:
        return (await self.database.run(lambda connection: connection.execute(query))).all()


async def _place(connection: AsyncConnection, owner: str, conversation_id: str, name: str) -> tuple[int, str]:
    query = select(THREADS.c.active_at).where(
        THREADS.c.conversation_id == conversation_id, THREADS.c.owner == owner
    )
    active_at: int | None = (await connection.execute(query)).scalar()
    if active_at is None:
        raise UnknownCursorError(name)
    return active_at, conversation_id


def _beyond(place: tuple[int, str], *, descends: bool) -> ColumnElement[bool]:
    """Return the condition for threads after a place in a list."""
    here = tuple_(*_PLACE)
    return here < place if descends else here > place


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.conversation_id, row.title, orjson.loads(row.metadata), row.created_at, row.active_at)


def _row(
    conversation_id: str, owner: str, created_at: int | None, title: str | None, metadata: Mapping[str, str]
) -> dict[str, object]:
    return {
        "conversation_id": conversation_id,
        "owner": owner,
        "title": title,
        "metadata": json_text(metadata),
        "created_at": created_at or int(time.time()),
    }
