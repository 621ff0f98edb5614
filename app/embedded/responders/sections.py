"""Full-text search over the sections of the guide's Markdown documents: FTS5, BM25, headings weighted."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.embedded.documents import Document

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_MARKUP = re.compile(r"[`*\[\]()]")
_CANDIDATES = 40
# Weights of title path, own heading and body in BM25.
_WEIGHTS = "2.0, 6.0, 1.0"
_SYNONYM_WORTH = 0.6
_HEADING_WORTH = 1.5
_FOCUSED_WORDS = 5
# People ask how to use it; README is written for that, the other documents for those who go on.
_README_WORTH = 0.5
_ENOUGH_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading."""

    document: Document
    heading: str
    trail: str
    """The headings above it."""
    body: str


@dataclass(frozen=True, slots=True)
class Match:
    """A section that answers a question, with the share of the question's words that it holds."""

    section: Section
    coverage: float


class SectionIndex:
    """Sections in an in-memory FTS5 table; a query takes well under a millisecond, so it runs in place."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._sections = [section for document in documents for section in sections_of(document)]
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE sections USING fts5 (trail, heading, body, tokenize = 'porter unicode61')"
        )
        self._database.executemany(
            "INSERT INTO sections (rowid, trail, heading, body) VALUES (?, ?, ?, ?)",
            [(index, one.trail, one.heading, _plain(one.body)) for index, one in enumerate(self._sections)],
        )

    def close(self) -> None:
        """Drop the table."""
        self._database.close()

    def search(self, terms: Sequence[tuple[str, ...]]) -> list[Match]:
        """Sections that hold at least half of the terms, best first."""
        if not terms:
            return []
        words = dict.fromkeys(word for group in terms for word in group)
        rows = self._database.execute(
            f"SELECT rowid, bm25(sections, {_WEIGHTS}) FROM sections WHERE sections MATCH ?"  # noqa: S608 - a literal
            f" ORDER BY 2 LIMIT {_CANDIDATES}",
            (_any_of(words),),
        ).fetchall()
        if not rows:
            return []
        best_rank = min(row[1] for row in rows)
        coverage, worth = self._judge(terms, [row[0] for row in rows])
        ranked = sorted(
            rows,
            key=lambda row: worth[row[0]] + row[1] / best_rank + self._readme_worth(row[0]),
            reverse=True,
        )
        matches = [Match(self._sections[row[0]], coverage[row[0]]) for row in ranked]
        return [match for match in matches if match.coverage >= _ENOUGH_COVERAGE]

    def introduction(self) -> Section | None:
        """The section that opens the first document, README where there is one."""
        return self._sections[0] if self._sections else None

    def _readme_worth(self, rowid: int) -> float:
        return _README_WORTH if self._sections[rowid].document.filename == "README.md" else 0.0

    def _judge(
        self, terms: Sequence[tuple[str, ...]], rowids: Sequence[int]
    ) -> tuple[dict[int, float], dict[int, float]]:
        """For each row: the share of terms that it holds, and what its places of them are worth."""
        coverage, worth = dict.fromkeys(rowids, 0.0), dict.fromkeys(rowids, 0.0)
        for group in terms:
            grades = [
                (self._holding(_any_of(group[:1])), 1.0),
                (self._holding(_any_of(group)), _SYNONYM_WORTH),
            ]
            headed = [
                (self._holding(f"heading : ({_any_of(words)})"), value * _HEADING_WORTH)
                for words, value in ((group[:1], 1.0), (group, _SYNONYM_WORTH))
            ]
            for rowid in rowids:
                coverage[rowid] += _first_grade(rowid, grades) / len(terms)
                in_heading = _first_grade(rowid, headed) * self._focus(rowid)
                worth[rowid] += (_first_grade(rowid, grades) + in_heading) / len(terms)
        return coverage, worth

    def _focus(self, rowid: int) -> float:
        """1 for a short heading, less for one that names many things."""
        return min(1.0, _FOCUSED_WORDS / len(self._sections[rowid].heading.split()))

    def _holding(self, query: str) -> set[int]:
        rows = self._database.execute("SELECT rowid FROM sections WHERE sections MATCH ?", (query,))
        return {row[0] for row in rows}


def _first_grade(rowid: int, grades: Sequence[tuple[set[int], float]]) -> float:
    return next((value for holding, value in grades if rowid in holding), 0.0)


def _any_of(words: Iterable[str]) -> str:
    return " OR ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    return '"' + word.replace('"', "") + '"'


def _plain(body: str) -> str:
    return _MARKUP.sub(" ", body)


def sections_of(document: Document) -> Iterator[Section]:
    """The document cut at its headings; a heading inside a code fence is none."""
    trail: list[str] = []
    lines: list[str] = []
    in_fence = False
    for line in document.text.splitlines():
        in_fence ^= bool(_FENCE.match(line))
        found = None if in_fence else _HEADING.match(line)
        if found is None:
            lines.append(line)
            continue
        yield from _section(document, trail, lines)
        level = len(found.group(1))
        trail = [*trail[: level - 1], _MARKUP.sub("", found.group(2))]
        lines = []
    yield from _section(document, trail, lines)


def _section(document: Document, trail: Sequence[str], lines: Sequence[str]) -> Iterator[Section]:
    body = "\n".join(lines).strip()
    if body:
        heading = trail[-1] if trail else document.filename
        yield Section(document, heading, " ".join(trail[:-1]), body)


def excerpt(section: Section, terms: Sequence[tuple[str, ...]], limit: int = 700) -> str:
    """Whole paragraphs of a section from the best matching one on, up to some `limit` characters."""
    paragraphs = _paragraphs(section.body)
    words = {word for group in terms for word in group}
    scores = [sum(word in paragraph.lower() for word in words) for paragraph in paragraphs]
    start = 0 if len(section.body) <= limit else scores.index(max(scores))
    # A code block or a table says little without the sentence that introduces it.
    if start and (paragraphs[start].startswith(("```", "|")) or paragraphs[start - 1].endswith(":")):
        start -= 1
    chosen = [paragraphs[start]]
    for paragraph in paragraphs[start + 1 :]:
        # What a colon announces belongs to it, even when it is long.
        room = 3 * limit if chosen[-1].endswith(":") else limit
        if sum(map(len, chosen)) + len(paragraph) > room:
            break
        chosen.append(paragraph)
    return _shortened("\n\n".join(chosen), words, limit)


def _paragraphs(body: str) -> list[str]:
    """Blocks between blank lines; a code fence stays in one piece."""
    blocks: list[str] = []
    held: list[str] = []
    in_fence = False
    for line in [*body.splitlines(), ""]:
        in_fence ^= bool(_FENCE.match(line))
        if line.strip() or in_fence:
            held.append(line)
        elif held:
            blocks.append("\n".join(held))
            held = []
    return blocks or [body]


def _shortened(text: str, words: set[str], limit: int) -> str:
    """A long list or table cut down to its head and the lines that hold a word of the question."""
    lines = text.splitlines()
    if len(text) <= 2 * limit or len(lines) < 4:
        return text
    head = 2 if text.startswith("|") else 0
    kept = lines[:head] + [line for line in lines[head:] if any(word in line.lower() for word in words)]
    size, result = 0, []
    for line in kept:
        size += len(line)
        if size > 2 * limit:
            break
        result.append(line)
    if sum(line.lstrip().startswith("```") for line in result) % 2:
        result.append("```")
    return "\n".join(result or [text[:limit]])
