"""Full-text search over the sections of the guide's Markdown documents: SQLite's FTS5, ranked by BM25."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.embedded.documents import Document

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_MARKUP = re.compile(r"[`*\[\]]")
_HANGUL = re.compile(r"[가-힣]")
_WORD = re.compile(r"[a-z0-9]+|[가-힣]+")
# Words that a question is made of and that say nothing about its subject.
_STOP_TEXT = """
a about an and any are as at be by can could do does for from get give go have help how i if in into is it its
make me my need of on or please put should show so tell that the their them there these this to up use using
want was we what when where which who why will with without work works would you your soloist
어떻게 하나요 하나 해요 해야 하고 하려면 싶어요 싶어 있어 있나요 있어요 뭐야 뭐예요 무엇 무엇인가요
얼마 얼마야 알려줘 알려 방법 어디 어디에 어디서 되나요 돼 해 해줘 주세요 솔로이스트 솔로이스트가
솔로이스트는 이 서비스
"""
_STOP = frozenset(_STOP_TEXT.split())
# Weights of title path, own heading and body in BM25.
_WEIGHTS = "1.0, 8.0, 1.0"
# People ask how to use it: README is written for that, the decisions for those who change it.
_WORTH = {"README.md": 1.15, "docs/decisions.md": 0.6}
_ENOUGH_COVERAGE = 0.5
_MOST_WORDS = 32


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading."""

    document: Document
    heading: str
    trail: str
    """The headings above it."""
    body: str

    @property
    def anchor(self) -> str:
        """The heading as the last part of an address, spelled as GitHub does."""
        return re.sub(r"[^\w -]", "", self.heading).lower().replace(" ", "-")


def is_korean(text: str) -> bool:
    """Whether a text is to be answered in Korean."""
    return bool(_HANGUL.search(text))


def query_words(question: str) -> list[str]:
    """The words of a question that tell its subject."""
    words = dict.fromkeys(_WORD.findall(question.lower()))
    return [word for word in words if word not in _STOP][:_MOST_WORDS]


class SectionIndex:
    """Sections in an in-memory FTS5 table; a query takes well under a millisecond, so it runs in place."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.sections = [section for document in documents for section in sections_of(document)]
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE sections USING fts5 (trail, heading, body, tokenize = 'porter unicode61')"
        )
        self._database.executemany(
            "INSERT INTO sections (rowid, trail, heading, body) VALUES (?, ?, ?, ?)",
            [
                (index, *(_searchable(text) for text in (one.trail, one.heading, one.body)))
                for index, one in enumerate(self.sections)
            ],
        )

    def close(self) -> None:
        """Drop the table."""
        self._database.close()

    def search(self, question: str) -> list[Section]:
        """Sections in the question's language that hold at least half of its words, best first.

        Where none does, other languages count too: many Korean questions name a setting.
        """
        queries = [_any_of(_forms(word)) for word in query_words(question)]
        if not queries:
            return []
        rows = self._database.execute(
            f"SELECT rowid, -bm25(sections, {_WEIGHTS}) FROM sections WHERE sections MATCH ?",  # noqa: S608
            (" OR ".join(queries),),
        ).fetchall()
        holders = [self._holding(query) for query in queries]
        scores = {}
        for rowid, rank in rows:
            coverage = sum(rowid in holding for holding in holders) / len(holders)
            if coverage >= _ENOUGH_COVERAGE:
                worth = _WORTH.get(self.sections[rowid].document.filename, 1.0)
                scores[rowid] = rank * coverage * worth
        ranked = [self.sections[rowid] for rowid in sorted(scores, key=lambda rowid: -scores[rowid])]
        alike = [one for one in ranked if is_korean(one.heading) == is_korean(question)]
        return alike or ranked

    def _holding(self, query: str) -> set[int]:
        rows = self._database.execute("SELECT rowid FROM sections WHERE sections MATCH ?", (query,))
        return {row[0] for row in rows}


def _searchable(text: str) -> str:
    """The words of a text; a Korean one with all its beginnings, because particles cling to its end."""
    return " ".join(form for word in _WORD.findall(text.lower()) for form in _forms(word))


def _forms(word: str) -> list[str]:
    if not is_korean(word):
        return [word]
    # A single syllable begins too many words, unless little else is left of the word.
    return [word[:end] for end in range(1 if len(word) < 3 else 2, len(word) + 1)]


def _any_of(words: Iterable[str]) -> str:
    return " OR ".join(f'"{word}"' for word in words)


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


def excerpt(section: Section, words: Sequence[str], limit: int = 700) -> str:
    """Whole paragraphs of a section from the best matching one on, up to some `limit` characters."""
    paragraphs = _paragraphs(section.body)
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
    blocks = re.findall(r"(?ms)^(?:```.*?^```|.+?)(?=\n\s*\n|\Z)", body)
    return [block.strip("\n") for block in blocks] or [body]


def _shortened(text: str, words: Sequence[str], limit: int) -> str:
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
