"""The signage analyst's data: the model asks a SQL database instead of reading rows out of the message.

SIGNAGE_DB names the SQLite file; signage.sql beside this file makes one with a few rows.
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from app.tools import Caller, ToolError, tool

MOST_ROWS = 200
MOST_SECONDS = 5
# All that a SELECT needs. Whatever else SQL can do, such as ATTACH or PRAGMA, is refused.
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


@tool(timeout_seconds=10, idempotent=True)
def query_signage(sql: str, caller: Caller) -> dict[str, object]:
    """Run one SELECT on the network's SQLite database and return its columns and rows, 200 at most.

    Tables: screens(id, name, site, state) with state online or offline;
    plays(screen_id, spot, day, seconds, finished) with day as YYYY-MM-DD, and finished 1 or 0;
    outages(screen_id, day, minutes). Only plays with finished = 1 count as proof of play.
    Let the database count and add: ask for totals instead of rows.
    """
    with closing(opened()) as database:
        try:
            cursor = database.execute(sql)
            rows = cursor.fetchmany(MOST_ROWS + 1)
        except sqlite3.Error as exc:
            raise ToolError(f"SQLite says: {exc}") from exc
        columns = [column[0] for column in cursor.description or []]
    return {"columns": columns, "rows": rows[:MOST_ROWS], "is_cut": len(rows) > MOST_ROWS}


def opened() -> sqlite3.Connection:
    """Return a connection that can only read, and gives up after a few seconds."""
    path = Path(os.environ["SIGNAGE_DB"]).resolve()
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    deadline = time.monotonic() + MOST_SECONDS
    database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    database.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY
    )
    return database
