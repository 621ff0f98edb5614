"""Conversations and their items in SQLite."""

import time
from collections.abc import Iterable, Sequence

import orjson

from app.embedded.errors import not_found
from app.embedded.ids import timed_id
from app.embedded.store.database import Database, Transaction
from app.embedded.store.paging import Listing, Page, page_rows
from app.embedded.wire import Json, list_page

# A conversation that was deleted meanwhile takes no more items.
_INSERT_ITEM = "INSERT INTO items (conversation_id, id, body) SELECT id, ?, ? FROM conversations WHERE id = ?"


async def insert_items(transaction: Transaction, conversation_id: str, items: Iterable[Json]) -> None:
    """Append items, in order, inside an open transaction."""
    rows = [(item["id"], orjson.dumps(item), conversation_id) for item in items]
    await transaction.execute_many(_INSERT_ITEM, rows)


class ConversationStore:
    """Reads and writes `/v1/conversations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, metadata: dict[str, str], items: Sequence[Json]) -> Json:
        """Store a conversation with its first items; the conversation object."""
        created = int(time.time())
        conversation_id = timed_id("conv")
        row = (conversation_id, created, orjson.dumps(metadata))
        insert = "INSERT INTO conversations VALUES (?, ?, ?)"
        if items:
            async with self._database.transaction() as transaction:
                await transaction.execute(insert, row)
                await insert_items(transaction, conversation_id, items)
        else:
            await self._database.write(insert, row)
        return _conversation(conversation_id, created, metadata)

    async def get(self, conversation_id: str) -> Json:
        """The conversation object.

        Raises ApiError 404.
        """
        row = await self._database.row(
            "SELECT created_at, metadata FROM conversations WHERE id = ?", (conversation_id,)
        )
        if row is None:
            raise not_found("Conversation", conversation_id)
        return _conversation(conversation_id, row[0], orjson.loads(row[1]))

    async def replace_metadata(self, conversation_id: str, metadata: dict[str, str]) -> Json:
        """Put metadata in place of the old; the conversation object.

        Raises ApiError 404.
        """
        rows = await self._database.write(
            "UPDATE conversations SET metadata = ? WHERE id = ? RETURNING created_at",
            (orjson.dumps(metadata), conversation_id),
        )
        if not rows:
            raise not_found("Conversation", conversation_id)
        return _conversation(conversation_id, rows[0][0], metadata)

    async def delete(self, conversation_id: str) -> None:
        """Remove the conversation, its items and its responses.

        Raises ApiError 404.
        """
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                "DELETE FROM conversations WHERE id = ? RETURNING id", (conversation_id,)
            )
            for table in ("items", "responses"):
                await transaction.execute(
                    f"DELETE FROM {table} WHERE conversation_id = ?",  # noqa: S608 - two literal table names
                    (conversation_id,),
                )
        if not gone:
            raise not_found("Conversation", conversation_id)

    async def count(self) -> int:
        """Conversations stored."""
        row = await self._database.row("SELECT count(*) FROM conversations")
        return int(row[0]) if row else 0

    async def history(self, conversation_id: str) -> list[Json]:
        """Every item, oldest first.

        Raises ApiError 404.
        """
        # One query for both questions: a conversation without items still yields its row.
        rows = await self._database.rows(
            "SELECT i.body FROM conversations c LEFT JOIN items i ON i.conversation_id = c.id"
            " WHERE c.id = ? ORDER BY i.seq",
            (conversation_id,),
        )
        if not rows:
            raise not_found("Conversation", conversation_id)
        return [orjson.loads(row[0]) for row in rows if row[0] is not None]

    async def append(self, conversation_id: str, items: Sequence[Json]) -> None:
        """Add items at the end."""
        async with self._database.transaction() as transaction:
            await insert_items(transaction, conversation_id, items)

    async def page(self, conversation_id: str, page: Page) -> Json:
        """One page of items, as OpenAI lists them.

        Raises ApiError 404 for the conversation, 400 for a cursor that is none of its items.
        """
        await self.get(conversation_id)
        listing = Listing("items", "body", "conversation_id = ?", (conversation_id,))
        rows, has_more = await page_rows(self._database, listing, page)
        return list_page([orjson.loads(row[0]) for row in rows], has_more=has_more)

    async def get_item(self, conversation_id: str, item_id: str) -> Json:
        """One item.

        Raises ApiError 404 for either id.
        """
        await self.get(conversation_id)
        row = await self._database.row(
            "SELECT body FROM items WHERE conversation_id = ? AND id = ?", (conversation_id, item_id)
        )
        if row is None:
            raise not_found("Item", item_id)
        item: Json = orjson.loads(row[0])
        return item

    async def delete_item(self, conversation_id: str, item_id: str) -> Json:
        """Remove one item; the conversation object, as OpenAI answers.

        Raises ApiError 404 for either id.
        """
        conversation = await self.get(conversation_id)
        gone = await self._database.write(
            "DELETE FROM items WHERE conversation_id = ? AND id = ? RETURNING id", (conversation_id, item_id)
        )
        if not gone:
            raise not_found("Item", item_id)
        return conversation


def _conversation(conversation_id: str, created: int, metadata: dict[str, str]) -> Json:
    return {"id": conversation_id, "object": "conversation", "created_at": created, "metadata": metadata}
