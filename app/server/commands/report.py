"""`python main.py report`: what the turns of the last days used, out of the store."""

import asyncio
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from app.core.config import Settings
from app.server.startup import settings_errors_told
from app.translate.events import Json

DONE, NO_STORE = 0, 1
_SUMS = ("turns", "users", "input_tokens", "cached_tokens", "output_tokens", "cost", "failed")


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    parser = add_parser("report", help="report turns, users, tokens, cost, times, failures and feedback")
    parser.add_argument(
        "--days", type=_days, default=30, metavar="N", help="days in UTC up to today; 30 by default"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=run)


def run(given: Namespace, _create_app: Callable[..., Any]) -> int:
    """Print the report and return the exit status: 1 if the store cannot be read."""
    with settings_errors_told():
        settings = Settings()
    report = asyncio.run(read_report(settings, given.days))
    if report is None:
        sys.stderr.write("There is no store that can be read: set STORE_URL, and start the service once.\n")
        return NO_STORE
    if given.json:
        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        sys.stdout.write(as_text(report))
    return DONE


async def read_report(settings: Settings, days: int) -> Json | None:
    """Return the report, beside a service that may be running; None if the store cannot be read."""
    # Imported here: no other command needs SQLAlchemy.
    from app.core.insight.report import report_of
    from app.core.store.database import Database

    database = Database(settings.store_location)
    return await database.peek(lambda connection: report_of(connection, days, settings.signing_keys))


def as_text(report: Json) -> str:
    """Return the report as tables of text."""
    feedback, code_rows = report["feedback"], [[row["code"], row["turns"]] for row in report["failures"]]
    down = [[row["thread_id"], row["down"], row["last_at"]] for row in report["threads_down"]]
    times = [
        [title, report[name]["p50"], report[name]["p95"]]
        for title, name in (("first text", "first_text_ms"), ("whole answer", "answer_ms"))
    ]
    total = [[f"{report['first_day']} to {report['last_day']}", *_cells(report)]]
    heads = [name.replace("_", " ") for name in _SUMS]
    tables = [
        _table(["days (UTC)", *heads], total + [[row["day"], *_cells(row)] for row in report["by_day"]]),
        _table(["model", *heads], [[row["model"], *_cells(row)] for row in report["models"]]),
        _table(["time in ms", "p50", "p95"], times),
        _table(["failure", "turns"], code_rows),
        _table(["feedback", "ratings"], [["up", feedback["up"]], ["down", feedback["down"]]]),
        _table(["thread with a thumb down", "down", "last"], down),
    ]
    return "\n".join(filter(None, tables))


def _cells(row: Json) -> list[object]:
    return [row[name] for name in _SUMS]


def _table(heads: list[str], rows: Iterable[list[object]]) -> str:
    """Return a table whose first column is set to the left; an empty text without rows."""
    lines = [heads, *([_shown(cell) for cell in row] for row in rows)]
    if len(lines) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        text += "  ".join([first.ljust(widths[0]), *cells]).rstrip() + "\n"
    return text


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 400:
        raise ArgumentTypeError("must be 1 to 400")
    return int(text)
