"""Responses in SQLite: their bodies, their input items and the event log of streamed ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.embedded.errors import not_found
from app.embedded.store.conversations import insert_items
from app.embedded.store.database import Database
from app.embedded.wire import Json

_FRAME_END = b"\n\n"
_KEPT_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response that is no longer being made."""

    body: Json
    streamed: bool
    """Created with background and stream, so its events may be replayed."""
    frames: list[bytes]


class ResponseStore:
    """Reads and writes `/v1/responses`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, body: Json, input_items: Sequence[Json], *, streamed: bool) -> None:
        """Record a response that begins, so that a restart can tell what became of it."""
        conversation = body["conversation"]
        await self._database.write(
            "INSERT INTO responses (id, created_at, conversation_id, status, streamed, body, input)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                body["id"],
                body["created_at"],
                conversation and conversation["id"],
                body["status"],
                streamed,
                orjson.dumps(body),
                orjson.dumps(input_items),
            ),
        )

    async def finish(
        self, body: Json, frames: Sequence[bytes] | None, items: Sequence[Json], *, stored: bool
    ) -> None:
        """Record how a response ended and append its items to its conversation, both or neither."""
        conversation = body["conversation"]
        if conversation is None and not stored:
            return
        async with self._database.transaction() as transaction:
            if stored:
                await transaction.execute(
                    "UPDATE responses SET status = ?, body = ?, events = ? WHERE id = ?",
                    (
                        body["status"],
                        orjson.dumps(body),
                        None if frames is None else b"".join(frames),
                        body["id"],
                    ),
                )
            if conversation is not None and items:
                await insert_items(transaction, conversation["id"], items)

    async def get(self, response_id: str) -> StoredResponse:
        """A stored response.

        Raises ApiError 404.
        """
        row = await self._database.row(
            "SELECT body, streamed, events FROM responses WHERE id = ?", (response_id,)
        )
        if row is None:
            raise not_found("Response", response_id)
        frames = [frame + _FRAME_END for frame in (row[2] or b"").split(_FRAME_END) if frame]
        return StoredResponse(orjson.loads(row[0]), bool(row[1]), frames)

    async def input_items(self, response_id: str) -> list[Json]:
        """What the response was asked, oldest first.

        Raises ApiError 404.
        """
        row = await self._database.row("SELECT input FROM responses WHERE id = ?", (response_id,))
        if row is None:
            raise not_found("Response", response_id)
        items: list[Json] = orjson.loads(row[0])
        return items

    async def delete(self, response_id: str) -> None:
        """Remove a response.

        Raises ApiError 404.
        """
        if not await self._database.write("DELETE FROM responses WHERE id = ? RETURNING id", (response_id,)):
            raise not_found("Response", response_id)

    async def history(self, response_id: str) -> list[Json]:
        """Input and output of a chain of `previous_response_id`, oldest first.

        Raises ApiError 404 for the first link; a later one that was deleted ends the chain.
        """
        turns: list[list[Json]] = []
        link: str | None = response_id
        while link is not None:
            row = await self._database.row("SELECT input, body FROM responses WHERE id = ?", (link,))
            if row is None:
                if not turns:
                    raise not_found("Previous response", response_id, "previous_response_id")
                break
            body = orjson.loads(row[1])
            turns.append([*orjson.loads(row[0]), *body["output"]])
            link = body["previous_response_id"]
        return [item for turn in reversed(turns) for item in turn]

    async def tidy(self) -> None:
        """Fail what a killed process left unfinished, forget what is 30 days old; called once, at start."""
        await self._database.write("DELETE FROM responses WHERE created_at < ?", (now() - _KEPT_SECONDS,))
        rows = await self._database.rows(
            "SELECT id, body, input FROM responses WHERE status IN ('queued', 'in_progress')"
        )
        for row in rows:
            body = orjson.loads(row[1])
            body |= {"status": "failed", "error": restarted_error(), "output": []}
            await self.finish(body, None, orjson.loads(row[2]), stored=True)


def restarted_error() -> Json:
    """Why a response failed that was being made when the process ended."""
    return {"code": "server_error", "message": "The embedded upstream was restarted"}


def now() -> int:
    """Unix seconds."""
    return int(time.time())
