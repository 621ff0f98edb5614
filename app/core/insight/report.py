"""The report of the last days, out of the store: turns, users, tokens, cost, times, failures, feedback.

Days are those of UTC, and today is the last of them. A turn is a run, however many responses it took.
"""

import math
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Subquery, case, distinct, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.insight.usage_log import DAY_SECONDS
from app.core.store.tables import FEEDBACK, USAGE
from app.translate.events import Json
from app.utils.ids import IdCodec

_FAILED = ("failed", "expired", "incomplete")
_MOST_THREADS = 20
_SUMS = [
    func.count(distinct(USAGE.c.run_id)).label("turns"),
    func.count(distinct(USAGE.c.user_hash)).label("users"),
    *(
        func.coalesce(func.sum(USAGE.c[name]), 0).label(name)
        for name in ("input_tokens", "cached_tokens", "output_tokens")
    ),
    func.sum(USAGE.c.cost).label("cost"),
    func.count(distinct(case((USAGE.c.status.in_(_FAILED), USAGE.c.run_id)))).label("failed"),
]
_EPOCH = date(1970, 1, 1)


async def report_of(connection: AsyncConnection, days: int, keys: Sequence[bytes]) -> Json:
    """Return the report of so many days; `keys` sign the ids of threads."""
    today = int(time.time() // DAY_SECONDS)
    first = today - days + 1
    is_recent = USAGE.c.day >= first
    total = (await connection.execute(select(*_SUMS).where(is_recent))).one()
    runs = _runs(is_recent)
    return {
        "object": "usage.report",
        "days": days,
        "first_day": _name_of(first),
        "last_day": _name_of(today),
        **_sums(total),
        "first_text_ms": await _percentiles(connection, runs.c.first_text_at - runs.c.began_at),
        "answer_ms": await _percentiles(connection, runs.c.ended_at - runs.c.began_at),
        "failures": await _failures(connection, is_recent),
        "models": await _grouped(connection, USAGE.c.model, "model", is_recent),
        "feedback": await _feedback(connection, first),
        "threads_down": await _threads_down(connection, first, keys),
        "by_day": await _by_day(connection, is_recent, first, today),
    }


def _runs(is_recent: ColumnElement[bool]) -> Subquery:
    """Return the runs with their times in unix seconds."""
    first_text_at = USAGE.c.began_at + USAGE.c.first_text_ms / 1000.0
    return (
        select(
            func.min(USAGE.c.began_at).label("began_at"),
            func.min(first_text_at).label("first_text_at"),
            func.max(USAGE.c.began_at + USAGE.c.total_ms / 1000.0).label("ended_at"),
        )
        .where(is_recent)
        .group_by(USAGE.c.run_id)
        .subquery()
    )


async def _percentiles(connection: AsyncConnection, seconds: ColumnElement[Any]) -> Json:
    """Return the median and the 95th percentile (nearest rank) in milliseconds; None without any value."""
    known = select(seconds.label("seconds")).where(seconds.is_not(None)).subquery()
    count: int = (await connection.execute(select(func.count()).select_from(known))).scalar_one()
    found: Json = {"p50": None, "p95": None}
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        if count:
            place = max(0, math.ceil(count * share) - 1)
            query = select(known.c.seconds).order_by(known.c.seconds).limit(1).offset(place)
            found[name] = round((await connection.execute(query)).scalar_one() * 1000)
    return found


async def _failures(connection: AsyncConnection, is_recent: ColumnElement[bool]) -> list[Json]:
    code, turns = func.coalesce(USAGE.c.code, USAGE.c.status), func.count(distinct(USAGE.c.run_id))
    query = (
        select(code.label("code"), turns.label("turns"))
        .where(is_recent, USAGE.c.status.in_(_FAILED))
        .group_by(code)
        .order_by(turns.desc(), code)
    )
    return [{"code": row.code, "turns": row.turns} for row in await connection.execute(query)]


async def _grouped(
    connection: AsyncConnection, column: ColumnElement[Any], name: str, is_recent: ColumnElement[bool]
) -> list[Json]:
    query = select(column.label("value"), *_SUMS).where(is_recent).group_by(column).order_by(column)
    return [{name: row.value, **_sums(row)} for row in await connection.execute(query)]


async def _by_day(
    connection: AsyncConnection, is_recent: ColumnElement[bool], first: int, today: int
) -> list[Json]:
    """Return a row a day, also for days without a turn."""
    found = {row["day"]: row for row in await _grouped(connection, USAGE.c.day, "day", is_recent)}
    nothing = {"turns": 0, "users": 0, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0}
    empty: Json = {**nothing, "cost": None, "failed": 0}
    return [{**found.get(day, empty), "day": _name_of(day)} for day in range(first, today + 1)]


async def _feedback(connection: AsyncConnection, first: int) -> Json:
    query = (
        select(FEEDBACK.c.value, func.count().label("ratings"))
        .where(FEEDBACK.c.created_at >= first * DAY_SECONDS)
        .group_by(FEEDBACK.c.value)
    )
    return {"up": 0, "down": 0} | {row.value: row.ratings for row in await connection.execute(query)}


async def _threads_down(connection: AsyncConnection, first: int, keys: Sequence[bytes]) -> list[Json]:
    """Return the threads that got a thumb down last, with the ids that their owners know."""
    last = func.max(FEEDBACK.c.created_at).label("last")
    where = (FEEDBACK.c.value == "down", FEEDBACK.c.created_at >= first * DAY_SECONDS)
    query = (
        select(FEEDBACK.c.conversation_id, FEEDBACK.c.owner, last, func.count().label("ratings"))
        .where(*where)
        .group_by(FEEDBACK.c.conversation_id, FEEDBACK.c.owner)
        .order_by(last.desc(), FEEDBACK.c.conversation_id)
        .limit(_MOST_THREADS)
    )
    return [
        {
            "thread_id": IdCodec(keys, row.owner).thread(row.conversation_id),
            "down": row.ratings,
            "last_at": datetime.fromtimestamp(row.last, UTC).isoformat(),
        }
        for row in await connection.execute(query)
    ]


def _sums(row: Row[Any]) -> Json:
    names = ("turns", "users", "input_tokens", "cached_tokens", "output_tokens", "failed")
    # PostgreSQL's sums of integers are decimals.
    return {name: int(getattr(row, name)) for name in names} | {"cost": row.cost}


def _name_of(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()
