"""Upstream conversations and their items. Source: OpenAI's Conversations API."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import UpstreamMalformedError, UpstreamMissingError
from app.core.upstream.port import Query, Upstream
from app.core.upstream.retries import parsed, read, retry_twice
from app.translate.events import Json
from app.translate.upstream_types import checked_conversation, checked_items, checked_stored_item

ITEMS_PER_CALL = 20
"""Most items that the upstream accepts in one call."""

_PAGE_ITEMS = 100
_DELETES_AT_ONCE = 8


@dataclass(eq=False)
class Conversations:
    """Calls to `/conversations`, with upstream ids. Failures raise `UpstreamError`."""

    upstream: Upstream
    lock: ConversationLock
    on_changed: Callable[[str], None] | None = None
    """Called with the id of a conversation that got or lost items outside of its turns."""

    async def create(self, items: list[Json], metadata: Mapping[str, str]) -> Json:
        """Create a conversation with any number of items; if they cannot all be stored, delete it again."""
        body: Json = {"metadata": dict(metadata)}
        if items:
            body["items"] = items[:ITEMS_PER_CALL]
        created = await self.upstream.request("POST", "/conversations", body=body)
        conversation = parsed(created, checked_conversation)
        try:
            await self.add_items(conversation["id"], items[ITEMS_PER_CALL:])
        except BaseException:
            # Nobody knows the id of the half-filled conversation yet, so nobody else would delete it.
            await self.delete(conversation["id"])
            raise
        return conversation

    async def get(self, conversation_id: str) -> Json:
        """Read a conversation."""
        return await read(self.upstream, f"/conversations/{conversation_id}", check=checked_conversation)

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> Json:
        """Replace a conversation's metadata; retried on failure, as a second write changes nothing."""
        path = f"/conversations/{conversation_id}"
        body = {"metadata": dict(metadata)}

        async def post() -> bytes:
            return await self.upstream.request("POST", path, body=body)

        return parsed(await retry_twice(post), checked_conversation)

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation. Its items stay upstream: delete them with `delete_item` first."""
        await self.upstream.request("DELETE", f"/conversations/{conversation_id}")

    async def add_items(self, conversation_id: str, items: list[Json]) -> list[Json]:
        """Append items and return them as stored; waits while the conversation is locked."""
        stored: list[Json] = []
        if self.on_changed is not None and items:
            self.on_changed(conversation_id)
        for start in range(0, len(items), ITEMS_PER_CALL):
            post = partial(self.append, conversation_id, items[start : start + ITEMS_PER_CALL])
            stored += await self.lock.write(conversation_id, post)
        return stored

    async def append(self, conversation_id: str, items: list[Json]) -> list[Json]:
        """Append at most twenty items; raises `ConversationLockedError` if another writer is active."""
        path = f"/conversations/{conversation_id}/items"
        stored = await self.upstream.request("POST", path, body={"items": items})
        if not (data := _data(parsed(stored, checked_items))):
            raise UpstreamMalformedError
        return data

    async def get_item(self, conversation_id: str, item_id: str, *, include: str | None = None) -> Json:
        """Read one item; `include` names what the upstream leaves out otherwise."""
        path = f"/conversations/{conversation_id}/items/{item_id}"
        return await read(self.upstream, path, _including(include), check=checked_stored_item)

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Delete one item."""
        await self.upstream.request("DELETE", f"/conversations/{conversation_id}/items/{item_id}")

    async def delete_items(self, conversation_id: str, item_ids: Sequence[str]) -> None:
        """Delete items, a few at once; those that are gone already count as deleted.

        Raises the first `UpstreamError` after all were tried.
        """
        # All at once could use up the connection pool, which other requests share.
        gate = asyncio.Semaphore(_DELETES_AT_ONCE)
        if self.on_changed is not None and item_ids:
            self.on_changed(conversation_id)

        async def delete(item_id: str) -> None:
            async with gate:
                with suppress(UpstreamMissingError):
                    await retry_twice(partial(self.delete_item, conversation_id, item_id))

        for result in await asyncio.gather(*map(delete, item_ids), return_exceptions=True):
            if result is not None:
                raise result

    async def items(
        self,
        conversation_id: str,
        *,
        order: str = "desc",
        after: str | None = None,
        page_items: int = _PAGE_ITEMS,
        most: int | None = None,
        include: str | Sequence[str] | None = None,
    ) -> AsyncIterator[Json]:
        """Yield items of every type, at most `most`, reading each page when it is needed.

        `include` names what the upstream leaves out of items otherwise.
        """
        path = f"/conversations/{conversation_id}/items"
        left = most
        while left is None or left > 0:
            limit = min(page_items, _PAGE_ITEMS, left or _PAGE_ITEMS)
            place = {"after": after} if after else {}
            query = {"limit": limit, "order": order, **_including(include), **place}
            found = await read(self.upstream, path, query, check=checked_items)
            data = _data(found)[:left]
            for item in data:
                yield item
            left = None if left is None else left - len(data)
            if not data or not found.get("has_more"):
                return
            if after == (after := str(data[-1]["id"])):
                # It would go on for ever.
                raise UpstreamMalformedError


def _including(include: str | Sequence[str] | None) -> Query:
    return {"include": [include] if isinstance(include, str) else include} if include else {}


def _data(page: Json) -> list[Json]:
    data: list[Json] = page["data"]
    return data
