"""The ledger in the store, for replicas without a Redis."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from sqlalchemy import Row, case, delete, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.budgets.ledger import SIZE_SECONDS, Answer, Wish
from app.core.budgets.rules import NOTHING, Account, Amount
from app.core.errors import ServiceError
from app.core.observability.metrics import WARN_SHARE
from app.core.store.database import Database
from app.core.store.tables import BUDGETED_TURNS, BUDGETS, THREAD_SIZES

_NO_LIMIT = 2**62
_SWEEP_SECONDS = 5.0
_KEPT_SECONDS = 40 * 86_400
_USED_TOKENS = BUDGETS.c.tokens + BUDGETS.c.held_tokens
_USED_NANOS = BUDGETS.c.nanos + BUDGETS.c.held_nanos


class _OverError(Exception):
    """An account has no room; raised to roll the reservation back."""


class StoredLedger:
    """A ledger in the store; implements `Ledger`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, wish: Wish) -> Answer:
        """Reserve a turn's estimate in all of its accounts or in none."""
        if wish.history is None:
            if (size := await self._size(wish.conversation_id)) is None:
                return Answer(needs_history=True)
            wish = wish.with_history(size)
        try:
            rows = await self._try(wish)
        except _OverError:
            # What has expired may have been in the way.
            await self.sweep()
            try:
                rows = await self._try(wish)
            except _OverError:
                return await self._refusal(wish)
        return await self._granted(wish, rows)

    async def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, once; one that has expired too."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(self._sized(wish.conversation_id, size))
            ended = delete(BUDGETED_TURNS).where(BUDGETED_TURNS.c.id == wish.id).returning(BUDGETED_TURNS)
            if (turn := (await connection.execute(ended)).first()) is not None:
                await _change(connection, [turn] if turn.is_held else [])
                await _change(
                    connection, [turn], spent=Amount(turn.tokens, turn.nanos) if billed is None else billed
                )

        await self._database.run(work)

    async def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that has changed."""
        gone = delete(THREAD_SIZES).where(THREAD_SIZES.c.conversation_id == conversation_id)
        await self._database.run(lambda connection: connection.execute(gone))

    async def watch(self) -> None:
        """Release what has expired and delete what is old, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            with suppress(ServiceError):
                await self.sweep()

    async def sweep(self) -> None:
        """Release the reservations that have expired; a late end of their turns is counted all the same."""
        now = self._database.now()
        late = BUDGETED_TURNS.c.is_held & (BUDGETED_TURNS.c.expires_at <= now)
        # Two replicas may sweep at the same time.
        free = select(BUDGETED_TURNS.c.id).where(late).with_for_update(skip_locked=True)
        expired = (
            update(BUDGETED_TURNS)
            .where(BUDGETED_TURNS.c.id.in_(free))
            .values(is_held=False)
            .returning(BUDGETED_TURNS)
        )
        old = (
            delete(BUDGETED_TURNS).where(BUDGETED_TURNS.c.expires_at < now - _KEPT_SECONDS),
            delete(THREAD_SIZES).where(THREAD_SIZES.c.noted_at < now - SIZE_SECONDS),
        )

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, (await connection.execute(expired)).all())
            for statement in old:
                await connection.execute(statement)

        await self._database.run(work)

    async def _size(self, conversation_id: str) -> int | None:
        found = select(THREAD_SIZES.c.tokens).where(THREAD_SIZES.c.conversation_id == conversation_id)
        size: int | None = await self._database.run(lambda connection: connection.scalar(found))
        return size

    async def _try(self, wish: Wish) -> Sequence[Row[Any]]:
        """Reserve by one conditional statement over all accounts; raises `_OverError`."""
        if any(not account.has_room(wish.whole) for account in wish.accounts):
            raise _OverError
        turn, reserving = self._turn(wish), self._reserving(wish)

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            if (await connection.execute(turn)).first() is None:
                # The commit before a lost connection had happened.
                return (await connection.execute(_accounts(wish))).all()
            rows = (await connection.execute(reserving)).all()
            if len(rows) < len(wish.accounts):
                _over()
            return rows

        return await self._database.run(work)

    def _turn(self, wish: Wish) -> Any:
        names = json.dumps([account.name for account in wish.accounts])
        new = self._database.insert(BUDGETED_TURNS).values(
            id=wish.id,
            day=wish.day.name,
            accounts=names,
            tokens=wish.whole.tokens,
            nanos=wish.whole.nanos,
            expires_at=self._database.now() + wish.seconds,
            is_held=True,
        )
        return new.on_conflict_do_nothing().returning(BUDGETED_TURNS.c.id)

    def _reserving(self, wish: Wish) -> Any:
        """Return the statement that adds to every account with room, and returns those accounts."""
        whole = wish.whole
        rows = [
            {
                "day": wish.day.name,
                "account": account.name,
                "held_tokens": whole.tokens,
                "held_nanos": whole.nanos,
            }
            for account in wish.accounts
        ]
        insert = self._database.insert(BUDGETS).values(rows)
        new = insert.excluded
        return insert.on_conflict_do_update(
            index_elements=["day", "account"],
            set_={
                "held_tokens": BUDGETS.c.held_tokens + new.held_tokens,
                "held_nanos": BUDGETS.c.held_nanos + new.held_nanos,
            },
            where=(_USED_TOKENS + new.held_tokens <= _limit(wish.accounts, "tokens"))
            & (_USED_NANOS + new.held_nanos <= _limit(wish.accounts, "nanos")),
        ).returning(BUDGETS)

    async def _granted(self, wish: Wish, rows: Sequence[Row[Any]]) -> Answer:
        found = {row.account: row for row in rows}
        used, reached = [], []
        for account in wish.accounts:
            row = found[account.name]
            used.append(_used(row))
            if row.told < 80 and account.share(used[-1]) >= WARN_SHARE:
                reached += await self._told(wish, account, 80)
        return Answer(used, None, reached)

    async def _refusal(self, wish: Wish) -> Answer:
        rows = await self._database.run(lambda connection: connection.execute(_accounts(wish)))
        found = {row.account: row for row in rows}
        wanted = [_used(found.get(account.name)).plus(wish.whole) for account in wish.accounts]
        # Somebody may have released something in the meantime; then the first one is as good as any.
        over = next((at for at, each in enumerate(wish.accounts) if not each.has_room(wanted[at])), 0)
        account, row = wish.accounts[over], found.get(wish.accounts[over].name)
        spent = Amount(row.tokens, row.nanos) if row else NOTHING
        if account.has_room(spent.plus(wish.whole)):
            return Answer([wanted[over]], account, is_held=True)
        return Answer([wanted[over]], account, await self._told(wish, account, 100))

    async def _told(self, wish: Wish, account: Account, percent: int) -> list[tuple[Account, int]]:
        """Note that somebody is told of a percentage; an empty list if that had been noted."""
        telling = (
            self._database.insert(BUDGETS)
            .values(day=wish.day.name, account=account.name, told=percent)
            .on_conflict_do_update(
                index_elements=["day", "account"], set_={"told": percent}, where=BUDGETS.c.told < percent
            )
            .returning(BUDGETS.c.account)
        )
        is_news = await self._database.run(lambda connection: connection.scalar(telling))
        return [(account, percent)] if is_news else []

    def _sized(self, conversation_id: str, size: int | None) -> Any:
        if size is None:
            return delete(THREAD_SIZES).where(THREAD_SIZES.c.conversation_id == conversation_id)
        now = self._database.now()
        values = {"conversation_id": conversation_id, "tokens": size, "noted_at": now}
        insert = self._database.insert(THREAD_SIZES).values(values)
        return insert.on_conflict_do_update(
            index_elements=["conversation_id"], set_={"tokens": size, "noted_at": now}
        )


async def _change(
    connection: AsyncConnection, turns: Sequence[Row[Any]], spent: Amount | None = None
) -> None:
    """Add what was spent to the accounts of these turns; without it, release their reservations."""
    tokens, nanos = ("held_tokens", "held_nanos") if spent is None else ("tokens", "nanos")
    changes: dict[tuple[str, str], Amount] = {}
    for turn in turns:
        change = Amount(-turn.tokens, -turn.nanos) if spent is None else spent
        for name in json.loads(turn.accounts):
            changes[turn.day, name] = changes.get((turn.day, name), Amount()).plus(change)
    # In the order of their names, as all who change several do: so nobody waits in a circle.
    for (day, name), change in sorted(changes.items()):
        await connection.execute(
            update(BUDGETS)
            .where(BUDGETS.c.day == day, BUDGETS.c.account == name)
            .values({tokens: BUDGETS.c[tokens] + change.tokens, nanos: BUDGETS.c[nanos] + change.nanos})
        )


def _used(row: Row[Any] | None) -> Amount:
    """Return what is spent and reserved of an account."""
    return NOTHING if row is None else Amount(row.tokens + row.held_tokens, row.nanos + row.held_nanos)


def _accounts(wish: Wish) -> Any:
    names = [account.name for account in wish.accounts]
    return select(BUDGETS).where(BUDGETS.c.day == wish.day.name, BUDGETS.c.account.in_(names))


def _limit(accounts: Sequence[Account], field: str) -> Any:
    """Return the limit of a row's account."""
    limits = {account.name: getattr(account, field) for account in accounts}
    known = [
        (BUDGETS.c.account == name, literal(limit)) for name, limit in limits.items() if limit is not None
    ]
    return case(*known, else_=_NO_LIMIT) if known else literal(_NO_LIMIT)


def _over() -> NoReturn:
    raise _OverError
