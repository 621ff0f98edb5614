"""Cursor pages over any table that counts its rows in `seq`."""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any, Literal

from app.embedded.errors import ApiError
from app.embedded.store.database import Database

Order = Literal["asc", "desc"]

_BEYOND_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class Page:
    """Cursor parameters of a list."""

    limit: int
    order: Order
    after: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed: columns of the rows in `table` that satisfy `where`, known by `id_column`."""

    table: str
    columns: str
    where: str
    parameters: Sequence[Any]
    id_column: str = "id"


async def page_rows(database: Database, listing: Listing, page: Page) -> tuple[list[Row], bool]:
    """The rows of one page, and whether more follow. SQL text comes from this package alone.

    Raises ApiError 400 for a cursor that names nothing in the list.
    """
    start = await _start(database, listing, page)
    compare = ">" if page.order == "asc" else "<"
    sql = (
        f"SELECT {listing.columns} FROM {listing.table} WHERE ({listing.where})"  # noqa: S608 - literals of this package
        f" AND seq {compare} ? ORDER BY seq {page.order} LIMIT ?"
    )
    rows = await database.rows(sql, (*listing.parameters, start, page.limit + 1))
    return rows[: page.limit], len(rows) > page.limit


async def _start(database: Database, listing: Listing, page: Page) -> int:
    if page.after is None:
        return 0 if page.order == "asc" else _BEYOND_ALL
    row = await database.row(
        f"SELECT seq FROM {listing.table} WHERE ({listing.where}) AND {listing.id_column} = ?",  # noqa: S608 - literals of this package
        (*listing.parameters, page.after),
    )
    if row is None:
        raise ApiError(f"No object with id '{page.after}' in this list.", param="after", code="invalid_value")
    return int(row[0])
