"""Conversations and their items in the store."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.store.database import Database
from app.core.store.json_text import json_text
from app.core.store.tables import CONVERSATIONS, ITEMS, LEASES, RESPONSES
from app.core.upstream.errors import ConversationLockedError, UpstreamMissingError
from app.translate.events import Json
from app.utils.ids import new_conversation_id, new_id

_SHOW_ALL = (
    update(CONVERSATIONS)
    .where(
        CONVERSATIONS.c.id == bindparam("conversation"),
        CONVERSATIONS.c.replayed_from > 0,
        ~exists().where(
            ITEMS.c.conversation_id == CONVERSATIONS.c.id, ITEMS.c.position >= CONVERSATIONS.c.replayed_from
        ),
    )
    .values(replayed_from=0)
)


@dataclass(frozen=True, slots=True)
class Page:
    """Which items to list: at most `limit`, after the item with the id `after`."""

    limit: int
    is_descending: bool
    after: str | None


@dataclass(eq=False)
class ConversationTable:
    """Reads and writes conversations; raises `UpstreamMissingError` for those that do not exist."""

    database: Database

    async def create(self, metadata: Mapping[str, str], items: Sequence[Json]) -> Json:
        """Store a conversation with its first items and return it."""
        conversation_id, created_at, write_id = new_conversation_id(), int(time.time()), _write_id()

        async def work(connection: AsyncConnection) -> None:
            row = {"id": conversation_id, "created_at": created_at, "metadata": json_text(metadata)}
            await connection.execute(insert(CONVERSATIONS), row)
            await connection.execute(insert(LEASES), {"name": conversation_id})
            await insert_items(connection, conversation_id, item_rows(write_id, items), position=0)

        await self._once(work)
        return _conversation(conversation_id, created_at, metadata)

    async def get(self, conversation_id: str) -> Json:
        """Return a conversation."""
        query = select(CONVERSATIONS).where(CONVERSATIONS.c.id == conversation_id)
        row = (await self.database.run(lambda connection: connection.execute(query))).first()
        if row is None:
            raise no_conversation()
        return _conversation(row.id, row.created_at, orjson.loads(row.metadata))

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> Json:
        """Replace a conversation's metadata and return it."""
        change = (
            update(CONVERSATIONS)
            .where(CONVERSATIONS.c.id == conversation_id)
            .values(metadata=json_text(metadata))
            .returning(CONVERSATIONS.c.created_at)
        )
        row = (await self.database.run(lambda connection: connection.execute(change))).first()
        if row is None:
            raise no_conversation()
        return _conversation(conversation_id, row.created_at, metadata)

    async def delete(self, conversation_id: str) -> list[str]:
        """Delete a conversation and all of it; return its responses that the upstream stores."""
        stored = select(RESPONSES.c.id).where(
            RESPONSES.c.conversation_id == conversation_id, RESPONSES.c.is_stored
        )
        # Kept over attempts: the commit of one before may have happened.
        found: Sequence[str] | None = None

        async def work(connection: AsyncConnection) -> None:
            nonlocal found
            gone = delete(CONVERSATIONS).where(CONVERSATIONS.c.id == conversation_id)
            if not (await connection.execute(gone)).rowcount:
                return
            # From here on no turn can add anything.
            await connection.execute(delete(LEASES).where(LEASES.c.name == conversation_id))
            known = (await connection.execute(stored)).scalars().all()
            for table in (ITEMS, RESPONSES):
                await connection.execute(delete(table).where(table.c.conversation_id == conversation_id))
            found = known

        await self.database.run(work)
        if found is None:
            raise no_conversation()
        return list(found)

    async def append(self, conversation_id: str, items: Sequence[Json]) -> None:
        """Add items, which have ids; raises `ConversationLockedError` while a turn holds the conversation."""
        write_id = _write_id()

        async def work(connection: AsyncConnection) -> None:
            query = select(LEASES, self.database.now().label("now")).where(LEASES.c.name == conversation_id)
            lease = (await connection.execute(query.with_for_update())).first()
            if lease is None:
                raise no_conversation()
            if lease.owner is not None and lease.expires_at > lease.now:
                raise locked()
            await insert_items(connection, conversation_id, item_rows(write_id, items))

        await self._once(work)

    async def page(self, conversation_id: str, page: Page) -> tuple[list[Json], bool]:
        """Return items, and whether there are more; raises `UpstreamMissingError` for an unknown cursor."""

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            query = select(ITEMS.c.body).where(ITEMS.c.conversation_id == conversation_id)
            place = ITEMS.c.position
            if page.after is not None:
                at = await _position(connection, conversation_id, page.after)
                query = query.where(place < at if page.is_descending else place > at)
            query = query.order_by(place.desc() if page.is_descending else place).limit(page.limit + 1)
            found = (await connection.execute(query)).all()
            if not found:
                await _check_exists(connection, conversation_id)
            return found

        rows = await self.database.run(work)
        return [orjson.loads(row.body) for row in rows[: page.limit]], len(rows) > page.limit

    async def get_item(self, conversation_id: str, item_id: str) -> Json:
        """Return one item."""
        query = select(ITEMS.c.body).where(ITEMS.c.conversation_id == conversation_id, ITEMS.c.id == item_id)
        row = (await self.database.run(lambda connection: connection.execute(query))).first()
        if row is None:
            raise no_item()
        item: Json = orjson.loads(row.body)
        return item

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Delete one item; where none is left that the model is shown, it is shown the older ones again."""
        gone = delete(ITEMS).where(ITEMS.c.conversation_id == conversation_id, ITEMS.c.id == item_id)
        lease = select(LEASES.c.name).where(LEASES.c.name == conversation_id).with_for_update()
        was_there = False

        async def work(connection: AsyncConnection) -> None:
            nonlocal was_there
            # One after the other: the last of several deletions must see what the others have left.
            await connection.execute(lease)
            was_there = bool((await connection.execute(gone)).rowcount) or was_there
            # New items come after the last one, and would be among those that are not shown.
            await connection.execute(_SHOW_ALL, {"conversation": conversation_id})

        await self.database.run(work)
        if not was_there:
            raise no_item()

    async def _once(self, work: Any) -> None:
        """Run a write whose rows are new; one that is there already was written by an attempt before."""
        try:
            await self.database.run(work)
        except IntegrityError:
            return


def item_rows(
    write_id: str, items: Sequence[Json], *, start: int = 0, origin: str | None = None
) -> list[Json]:
    """Return the rows of items, as yet without a place; `start` is the `output_index` of the first one."""
    return [
        {
            "id": item["id"],
            "response": write_id,
            "output_index": index,
            "body": json_text(item),
            "origin": origin,
        }
        for index, item in enumerate(items, start)
    ]


async def insert_items(
    connection: AsyncConnection, conversation_id: str, rows: list[Json], *, position: int | None = None
) -> None:
    """Append rows of `item_rows` in a transaction, from `position` on, or after the last item."""
    if not rows:
        return
    if position is None:
        query = select(func.max(ITEMS.c.position)).where(ITEMS.c.conversation_id == conversation_id)
        last = (await connection.execute(query)).scalar()
        position = 0 if last is None else last + 1
    placed = [
        row | {"conversation_id": conversation_id, "position": at} for at, row in enumerate(rows, position)
    ]
    await connection.execute(insert(ITEMS), placed)


def no_conversation() -> UpstreamMissingError:
    """Return the error for a conversation that is not there."""
    return UpstreamMissingError(frozenset({"conversation"}))


def no_item() -> UpstreamMissingError:
    """Return the error for an item that is not there."""
    return UpstreamMissingError(frozenset({"item"}))


def locked() -> ConversationLockedError:
    """Return the error for a conversation that another turn holds."""
    return ConversationLockedError(
        "The thread is busy with another run or message. Retry when that has ended."
    )


async def _position(connection: AsyncConnection, conversation_id: str, item_id: str) -> int:
    query = select(ITEMS.c.position).where(ITEMS.c.conversation_id == conversation_id, ITEMS.c.id == item_id)
    found: int | None = (await connection.execute(query)).scalar()
    if found is None:
        await _check_exists(connection, conversation_id)
        raise no_item()
    return found


async def _check_exists(connection: AsyncConnection, conversation_id: str) -> None:
    query = select(CONVERSATIONS.c.id).where(CONVERSATIONS.c.id == conversation_id)
    if (await connection.execute(query)).first() is None:
        raise no_conversation()


def _write_id() -> str:
    return new_id("write")


def _conversation(conversation_id: str, created_at: int, metadata: Mapping[str, str]) -> Json:
    return {
        "id": conversation_id,
        "object": "conversation",
        "created_at": created_at,
        "metadata": dict(metadata),
    }
