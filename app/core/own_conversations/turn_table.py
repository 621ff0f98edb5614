"""Turns in the store: who may write to a conversation, and what a response has become of.

A turn holds the lease of its conversation. Its items and its end are written in one transaction, which checks
that nobody has taken the lease over since.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Double, Row, Text, and_, bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.own_conversations.conversation_table import insert_items, item_rows, locked, no_conversation
from app.core.own_conversations.turn_records import (
    Begun,
    Lease,
    StoredResponse,
    TurnEnd,
    TurnLostError,
    UnsettledError,
)
from app.core.store.database import Database
from app.core.store.json_text import json_text
from app.core.store.tables import CONVERSATIONS, ITEMS, LEASES, RESPONSES
from app.core.upstream.errors import UpstreamMalformedError, UpstreamMissingError
from app.translate.events import Json
from app.translate.objects import RUN_EXPIRED
from app.translate.replay import StoredItem
from app.utils.ids import new_id

LEASE_SECONDS = 15.0
"""How long after its death a process keeps others from a conversation."""

_UPSTREAM_OWNER = "upstream"
"""Owns the lease of a turn that the upstream works on in its background."""


# Statements of every turn are made once: that takes longer than to carry them out.
_CONVERSATION = bindparam("conversation", type_=Text)
_IS_HELD = and_(
    LEASES.c.name == _CONVERSATION, LEASES.c.fence == bindparam("held"), LEASES.c.owner.is_not(None)
)
"""Whether nobody has given a lease back or taken it over; `_held` returns the parameters."""

_GIVE_BACK = update(LEASES).where(_IS_HELD).values(owner=None, expires_at=0)
_HAND_OVER = (
    update(LEASES)
    .where(_IS_HELD)
    .values(
        owner=bindparam("new_owner"),
        expires_at=func.coalesce(bindparam("until", type_=Double), LEASES.c.expires_at),
    )
)
_HISTORY = (
    select(ITEMS.c.position, ITEMS.c.body, ITEMS.c.origin, ITEMS.c.response)
    .where(
        ITEMS.c.conversation_id == _CONVERSATION,
        ITEMS.c.position
        >= select(CONVERSATIONS.c.replayed_from).where(CONVERSATIONS.c.id == _CONVERSATION).scalar_subquery(),
    )
    .order_by(ITEMS.c.position)
)
_LAST_AND_IDS = select(ITEMS.c.position, ITEMS.c.id).where(
    ITEMS.c.conversation_id == _CONVERSATION,
    ITEMS.c.id.in_(bindparam("ids", expanding=True))
    | (
        ITEMS.c.position
        == select(func.max(ITEMS.c.position))
        .where(ITEMS.c.conversation_id == _CONVERSATION)
        .scalar_subquery()
    ),
)
"""The last item of a conversation, and those with these ids."""


@dataclass(eq=False)
class TurnTable:
    """Begins and ends turns; `owner` is this process."""

    database: Database
    owner: str

    async def begin(self, conversation_id: str) -> Begun:
        """Take the lease of a conversation and return its items.

        A turn whose process died is ended first. Raises `UnsettledError`, `ConversationLockedError` while
        another turn holds the conversation, and `UpstreamMissingError` if there is none.
        """
        # The fence of an attempt before, whose commit may have happened: then the lease is this call's.
        taken: int | None = None

        async def work(connection: AsyncConnection) -> Begun:
            nonlocal taken
            values = {"conversation": conversation_id, "taken": taken}
            lease = (await connection.execute(self._take, values)).first()
            if lease is None:
                raise await _reason(connection, conversation_id)
            taken = lease.fence
            for response in await _live(connection, conversation_id) if lease.has_live else ():
                if response.is_stored:
                    raise UnsettledError
                await _expire(connection, response)
            history = await _history(connection, conversation_id)
            return Begun(Lease(conversation_id, lease.fence), *history)

        return await self.database.run(work)

    @cached_property
    def _take(self) -> Any:
        """Takes the lease of `conversation` if it is free, or if `taken` is its fence and it is ours."""
        now, fence = self.database.now(), LEASES.c.fence
        is_ours = (LEASES.c.owner == self.owner) & (fence == bindparam("taken"))
        is_free = LEASES.c.owner.is_(None) | (LEASES.c.expires_at < now) | is_ours
        has_live = exists().where(RESPONSES.c.conversation_id == _CONVERSATION, RESPONSES.c.is_live)
        return (
            update(LEASES)
            .where(LEASES.c.name == _CONVERSATION, is_free)
            .values(owner=self.owner, expires_at=now + LEASE_SECONDS, fence=fence + 1)
            .returning(fence, has_live.label("has_live"))
        )

    @cached_property
    def _put_begun(self) -> Any:
        """Inserts a response, or leaves the one that an attempt before has inserted."""
        return self._putting("id")

    @cached_property
    def _put_ended(self) -> Any:
        """Inserts a response, or ends the one that is there."""
        return self._putting("is_live", "body", "input")

    def _putting(self, *changed: str) -> Any:
        """Return an insert that changes these columns of the same turn's row, and no row of another turn."""
        new = self.database.insert(RESPONSES)
        same = (RESPONSES.c[name] == new.excluded[name] for name in ("conversation_id", "fence"))
        changes = {name: new.excluded[name] for name in changed}
        put = new.on_conflict_do_update(index_elements=["id"], set_=changes, where=and_(*same))
        return put.returning(RESPONSES.c.id)

    async def started(
        self, lease: Lease, response: Json, asked: Sequence[Json], origin: str, *, stored_until: float | None
    ) -> None:
        """Store a response that has just begun.

        `stored_until` is the deadline, in unix seconds, of one that the upstream stores. In its background it
        goes on without this process, so it keeps its lease until then.
        """
        is_stored = stored_until is not None
        row = _response_row(lease, response, origin, is_live=True, is_stored=is_stored)
        row |= {"deadline": stored_until or 0.0, "input": json_text(asked)}

        goes_on = is_stored and response.get("background")
        held = _held(lease) | (
            {"new_owner": _UPSTREAM_OWNER, "until": stored_until}
            if goes_on
            else {"new_owner": self.owner, "until": None}
        )

        async def work(connection: AsyncConnection) -> None:
            # The conversation may have been deleted meanwhile: nobody would delete the response again.
            if (await connection.execute(_HAND_OVER, held)).rowcount == 0:
                await _check_ended(connection, str(response["id"]))
                return
            await _put(connection, self._put_begun, row)

        await self.database.run(work)

    async def end(self, lease: Lease, end: TurnEnd) -> None:
        """Store a turn and give the lease back; raises `TurnLostError` if another one has begun since."""

        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(_GIVE_BACK, _held(lease))).rowcount == 0:
                await _check_ended(connection, str(end.response["id"]))
                return
            row = _response_row(lease, end.response, end.origin, is_live=False, is_stored=end.is_stored)
            await _put(connection, self._put_ended, row)
            await _insert_turn(connection, lease.conversation_id, end)
            if end.replayed_from is not None:
                await connection.execute(
                    update(CONVERSATIONS)
                    .where(CONVERSATIONS.c.id == lease.conversation_id)
                    .values(replayed_from=end.replayed_from)
                )

        await self.database.run(work)

    async def release(self, lease: Lease, *, response_id: str | None = None) -> None:
        """Give back the lease of a turn that leaves nothing but, perhaps, a response."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_GIVE_BACK, _held(lease))
            if response_id is not None:
                gone = update(RESPONSES).where(RESPONSES.c.id == response_id).values(is_live=False)
                await connection.execute(gone)

        await self.database.run(work)

    async def response(self, response_id: str) -> StoredResponse | None:
        """Return a response; one that is live though its process died is ended first."""
        query = select(RESPONSES).where(RESPONSES.c.id == response_id)

        async def work(connection: AsyncConnection) -> StoredResponse | None:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            found = _stored(row)
            if not found.is_live or found.is_stored:
                return found
            held = _held(found.lease)
            alive = select(LEASES.c.name).where(_IS_HELD, LEASES.c.expires_at >= self.database.now())
            if (await connection.execute(alive, held)).first() is not None:
                return found
            # Its turn may have ended since the first look, which gave the lease back.
            row = (await connection.execute(query)).first()
            if row is None or not row.is_live:
                return None if row is None else _stored(row)
            await connection.execute(_GIVE_BACK, held)
            return _stored(await _expire(connection, found))

        return await self.database.run(work)

    async def known_response(self, response_id: str) -> StoredResponse:
        """Do what `response` does; raises `UpstreamMissingError` if there is none."""
        if (found := await self.response(response_id)) is None:
            raise UpstreamMissingError(frozenset({"response"}))
        return found

    async def unread_responses(self, conversation_id: str) -> list[StoredResponse]:
        """Return the live responses that the upstream stores and no process reads to their end."""

        async def work(connection: AsyncConnection) -> list[StoredResponse]:
            read = select(LEASES.c.fence).where(
                LEASES.c.name == conversation_id,
                LEASES.c.owner.is_not(None),
                ~self._is_unread,
            )
            fence = (await connection.execute(read)).scalar()
            live = await _live(connection, conversation_id)
            return [response for response in live if response.is_stored and response.fence != fence]

        return await self.database.run(work)

    @property
    def _is_unread(self) -> ColumnElement[bool]:
        """Whether no process reads the response of a lease: the upstream has it, or the process is gone."""
        return (LEASES.c.owner == _UPSTREAM_OWNER) | (LEASES.c.expires_at < self.database.now())

    async def ask_to_cancel(self, response_id: str) -> None:
        """Tell the process that works on a response to stop."""
        change = update(RESPONSES).where(RESPONSES.c.id == response_id).values(is_cancelled=True)
        await self.database.run(lambda connection: connection.execute(change))

    async def expire(self, response: StoredResponse) -> None:
        """End a response that the upstream has lost and no process reads, and free its conversation."""
        give_back = _GIVE_BACK.where(self._is_unread)

        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(give_back, _held(response.lease))).rowcount:
                await _expire(connection, response)

        await self.database.run(work)

    async def renew(self, conversation_ids: Sequence[str]) -> list[str]:
        """Renew leases of this process; return the responses that it has been asked to cancel."""
        mine = (LEASES.c.owner == self.owner, LEASES.c.name.in_(conversation_ids))

        async def work(connection: AsyncConnection) -> Sequence[str]:
            later = self.database.now() + LEASE_SECONDS
            await connection.execute(update(LEASES).where(*mine).values(expires_at=later))
            asked = (
                select(RESPONSES.c.id)
                .join(LEASES, LEASES.c.name == RESPONSES.c.conversation_id)
                .where(*mine, RESPONSES.c.is_live, RESPONSES.c.is_cancelled)
            )
            return (await connection.execute(asked)).scalars().all()

        return list(await self.database.run(work))


async def _put(connection: AsyncConnection, statement: Any, row: Json) -> None:
    """Put a response; raises `UpstreamMalformedError` if the upstream has given its id to another one."""
    if (await connection.execute(statement, row)).first() is None:
        raise UpstreamMalformedError


def _held(lease: Lease) -> Json:
    """Return the parameters of `_IS_HELD`."""
    return {"conversation": lease.conversation_id, "held": lease.fence}


async def _reason(connection: AsyncConnection, conversation_id: str) -> Exception:
    """Return why a lease cannot be taken."""
    query = select(LEASES.c.owner).where(LEASES.c.name == conversation_id)
    lease = (await connection.execute(query)).first()
    if lease is None:
        return no_conversation()
    return UnsettledError() if lease.owner == _UPSTREAM_OWNER else locked()


async def _live(connection: AsyncConnection, conversation_id: str) -> list[StoredResponse]:
    query = select(RESPONSES).where(RESPONSES.c.conversation_id == conversation_id, RESPONSES.c.is_live)
    return [_stored(row) for row in (await connection.execute(query)).all()]


async def _history(connection: AsyncConnection, conversation_id: str) -> tuple[list[StoredItem], int]:
    """Return the items that fit into the model's window, as far as is known, and how many come before."""
    rows = (await connection.execute(_HISTORY, {"conversation": conversation_id})).all()
    found = [StoredItem(row.position, orjson.loads(row.body), row.origin, row.response) for row in rows]
    if not found or found[0].position == 0:
        return found, 0
    before = select(func.count()).where(
        ITEMS.c.conversation_id == conversation_id, ITEMS.c.position < found[0].position
    )
    return found, (await connection.execute(before)).scalar_one()


async def _insert_turn(connection: AsyncConnection, conversation_id: str, end: TurnEnd) -> None:
    response_id = str(end.response["id"])
    position, used = await _next_place(connection, conversation_id, [item["id"] for item in end.answered])
    # Not every upstream's ids are unique, and cursors need ids that are.
    answered = [
        item | {"id": new_id("msg" if item.get("type") == "message" else "item")}
        if item["id"] in used
        else item
        for item in end.answered
    ]
    rows = item_rows(response_id, end.asked, start=-len(end.asked))
    rows += item_rows(response_id, answered, origin=end.origin)
    await insert_items(connection, conversation_id, rows, position=position)


async def _next_place(
    connection: AsyncConnection, conversation_id: str, ids: Sequence[str]
) -> tuple[int, set[str]]:
    """Return the position after the last item of a conversation, and which of these ids its items have."""
    rows = (await connection.execute(_LAST_AND_IDS, {"conversation": conversation_id, "ids": ids})).all()
    return max((row.position + 1 for row in rows), default=0), {row.id for row in rows} & set(ids)


async def _check_ended(connection: AsyncConnection, response_id: str) -> None:
    """Raise `TurnLostError` unless the response was stored before, here or by another replica."""
    query = select(RESPONSES.c.is_live).where(RESPONSES.c.id == response_id)
    row = (await connection.execute(query)).first()
    if row is None or row.is_live:
        raise TurnLostError


async def _expire(connection: AsyncConnection, response: StoredResponse) -> Any:
    """End a response as expired, keep what it was asked, and return its row."""
    error = {"code": RUN_EXPIRED, "message": "The process that worked on the run has ended."}
    body = response.body | {"status": "failed", "error": error}
    rows = item_rows(response.id, response.asked, start=-len(response.asked))
    await insert_items(connection, response.conversation_id, rows)
    change = (
        update(RESPONSES)
        .where(RESPONSES.c.id == response.id)
        .values(is_live=False, is_stored=False, input="[]", body=json_text(body))
        .returning(*RESPONSES.c)
    )
    return (await connection.execute(change)).one()


def _response_row(lease: Lease, response: Json, origin: str, *, is_live: bool, is_stored: bool) -> Json:
    created_at = response.get("created_at")
    return {
        "id": response["id"],
        "conversation_id": lease.conversation_id,
        "created_at": int(created_at if isinstance(created_at, int | float) else time.time()),
        "is_live": is_live,
        "is_stored": is_stored,
        "fence": lease.fence,
        "deadline": 0.0,
        "input": "[]",
        "origin": origin,
        "body": json_text({} if is_stored and not is_live else response),
    }


def _stored(row: Row[Any]) -> StoredResponse:
    return StoredResponse(
        row.id,
        row.conversation_id,
        row.is_live,
        row.is_stored,
        row.fence,
        row.deadline,
        row.origin,
        orjson.loads(row.input),
        orjson.loads(row.body),
    )
