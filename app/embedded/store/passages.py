"""Keyword search over the text of files, by SQLite's FTS5 and BM25."""

import re
from collections.abc import Iterator, Sequence

from app.embedded.responders.base import Hit
from app.embedded.store.database import Database

_WORD = re.compile(r"\w+")
_PASSAGE_CHARS = 900
_SQL_VARIABLES = 500


class PassageIndex:
    """Passages of indexed files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file_id: str, text: str) -> None:
        """Index a file's text, passage by passage."""
        rows = [(passage, file_id) for passage in split_passages(text)]
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM passages WHERE file_id = ?", (file_id,))
            await transaction.execute_many("INSERT INTO passages (body, file_id) VALUES (?, ?)", rows)
            await transaction.execute("UPDATE files SET indexed = 1 WHERE id = ?", (file_id,))

    async def search(self, query: str, file_ids: Sequence[str], limit: int) -> list[Hit]:
        """Passages of these files that hold any word of the query, best first; `filename` is left empty."""
        words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))[:64]
        if not words or not file_ids:
            return []
        wanted = list(file_ids)[:_SQL_VARIABLES]
        marks = ",".join("?" * len(wanted))
        rows = await self._database.rows(
            "SELECT file_id, body, bm25(passages) AS rank FROM passages"  # noqa: S608 - question marks only
            f" WHERE passages MATCH ? AND file_id IN ({marks}) ORDER BY rank LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words), *wanted, limit),
        )
        return [Hit(row[0], "", row[1], _relevance(row[2])) for row in rows]


def _relevance(rank: float) -> float:
    # FTS5 ranks are negative and unbounded: the better, the lower.
    strength = max(0.0, -rank)
    return round(0.5 + 0.5 * strength / (1 + strength), 6)


def split_passages(text: str) -> Iterator[str]:
    """Paragraphs, short neighbours joined up to some 900 characters, long ones cut."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", text):
        block = paragraph.strip()
        if held and len(held) + len(block) > _PASSAGE_CHARS:
            yield held
            held = ""
        held = f"{held}\n\n{block}" if held else block
        while len(held) > _PASSAGE_CHARS:
            cut = held.rfind(" ", 0, _PASSAGE_CHARS)
            cut = cut if cut > 0 else _PASSAGE_CHARS
            yield held[:cut]
            held = held[cut:].lstrip()
    if held:
        yield held
