"""Upstream conversations and their items. Source: OpenAI's Conversations API."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.errors import UpstreamBrokenError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed, read, retry_twice
from app.translate.events import Json
from app.translate.upstream_types import BadShapeError, checked_conversation, checked_item

ITEMS_PER_CALL = 20
"""Most items that the upstream accepts in one call."""

_PAGE_ITEMS = 100


@dataclass(eq=False)
class Conversations:
    """Calls to `/conversations`, with upstream ids. Failures raise `UpstreamError`."""

    upstream: Upstream
    lock: ConversationLock

    async def create(self, items: list[Json], metadata: Mapping[str, str]) -> Json:
        """Create a conversation with any number of items; if they cannot all be stored, delete it again."""
        body: Json = {"metadata": dict(metadata)}
        if items:
            body["items"] = items[:ITEMS_PER_CALL]
        created = parsed(await self.upstream.request("POST", "/conversations", body=body))
        conversation = _whole(checked_conversation, created)
        try:
            await self.add_items(conversation["id"], items[ITEMS_PER_CALL:])
        except BaseException:
            # Nobody knows the id of the half-filled conversation yet, so nobody else would delete it.
            await self.delete(conversation["id"])
            raise
        return conversation

    async def get(self, conversation_id: str) -> Json:
        """Read a conversation."""
        found = await read(self.upstream, f"/conversations/{conversation_id}")
        return _whole(checked_conversation, found)

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> Json:
        """Replace a conversation's metadata; retried on failure, as a second write changes nothing."""
        path = f"/conversations/{conversation_id}"
        body = {"metadata": dict(metadata)}

        async def post() -> Json:
            return parsed(await self.upstream.request("POST", path, body=body))

        return _whole(checked_conversation, await retry_twice(post))

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation. Its items stay upstream: delete them with `delete_item` first."""
        await self.upstream.request("DELETE", f"/conversations/{conversation_id}")

    async def add_items(self, conversation_id: str, items: list[Json]) -> list[Json]:
        """Append items and return them as stored; waits while the conversation is locked."""
        stored: list[Json] = []
        for start in range(0, len(items), ITEMS_PER_CALL):
            post = partial(self.append, conversation_id, items[start : start + ITEMS_PER_CALL])
            stored += await self.lock.write(conversation_id, post)
        return stored

    async def append(self, conversation_id: str, items: list[Json]) -> list[Json]:
        """Append at most twenty items; raises `ConversationLockedError` if another writer is active."""
        path = f"/conversations/{conversation_id}/items"
        return _data(parsed(await self.upstream.request("POST", path, body={"items": items})))

    async def get_item(self, conversation_id: str, item_id: str, *, include: str | None = None) -> Json:
        """Read one item; `include` names what the upstream leaves out otherwise."""
        path = f"/conversations/{conversation_id}/items/{item_id}"
        found = await read(self.upstream, path, _including(include))
        return _whole(checked_item, found)

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Delete one item."""
        await self.upstream.request("DELETE", f"/conversations/{conversation_id}/items/{item_id}")

    async def items(
        self,
        conversation_id: str,
        *,
        order: str = "desc",
        after: str | None = None,
        page_items: int = _PAGE_ITEMS,
        most: int | None = None,
        include: str | None = None,
    ) -> AsyncIterator[Json]:
        """Yield items of every type, at most `most`, reading each page when it is needed.

        `include` names what the upstream leaves out of items otherwise.
        """
        path = f"/conversations/{conversation_id}/items"
        left = most
        while left is None or left > 0:
            limit = min(page_items, _PAGE_ITEMS, left or _PAGE_ITEMS)
            query = {"limit": limit, "order": order, **_including(include)}
            found = await read(self.upstream, path, query | ({"after": after} if after else {}))
            data = _data(found)[:left]
            for item in data:
                yield item
            left = None if left is None else left - len(data)
            if not data or not found.get("has_more"):
                return
            after = str(data[-1].get("id"))


def _including(include: str | None) -> dict[str, str | int]:
    return {"include[]": include} if include else {}


def _data(page: Mapping[str, Any]) -> list[Json]:
    data = page.get("data")
    if not isinstance(data, list):
        raise UpstreamBrokenError
    return [_whole(checked_item, item) for item in data if isinstance(item, dict)]


def _whole(check: Callable[[Json], Json], found: Json) -> Json:
    try:
        return check(found)
    except BadShapeError as exc:
        raise UpstreamBrokenError from exc
