"""The guide: answers about Soloist from its own documents, without any model and without a network."""

import re
import textwrap
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from app.embedded.documents import Document
from app.embedded.items import text_of
from app.embedded.responders.base import Annotation, Hit, HostedTool, Piece, TextDelta, Turn
from app.embedded.responders.chart import chart_pieces, wants_chart
from app.embedded.responders.memory import asked_fact, told_facts
from app.embedded.responders.named_tool import call_pieces, named_tool, new_outputs
from app.embedded.responders.phrases import ENGLISH, KOREAN, Phrases
from app.embedded.responders.sections import Section, SectionIndex, excerpt, is_korean, query_words
from app.embedded.responders.tokens import tokens_of

_GREETING = re.compile(
    r"\s*(hi|hello|hey|hallo|good (morning|afternoon|evening)|안녕\S*|반가\S*|하이)\b[\s\w]{0,12}[\s!.~,]*",
    re.IGNORECASE,
)
_ABOUT_GUIDE = re.compile(
    r"\b(who|what) are you\b|\bwhat can (you|i) (do|ask)\b|^\s*help\W*$"
    r"|도움말|도와|누구(야|세요|니|예요)|할 수 있",
    re.IGNORECASE,
)
_ABOUT_SOLOIST = re.compile(r"\bsoloist\b|솔로이스트|이 서비스", re.IGNORECASE)
_THANKS = re.compile(r"\s*(thanks|thank you|thx|고마\S*|감사\S*)[\s\w]{0,20}[\s!.~]*", re.IGNORECASE)
_HEADING_CHARS = 80
_FILE_HITS = 2
_OTHER_PLACES = 2
_EXCERPT_CHARS = 700


@dataclass(slots=True)
class _Answer:
    """Text that grows, and the annotations that point into it."""

    text: str = ""
    annotations: list[Annotation] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.text = f"{self.text}\n\n{text}" if self.text else text

    def quote(self, passage: str, file_id: str, filename: str) -> None:
        self.say("\n".join(f"> {line}".rstrip() for line in passage.splitlines()))
        place = {"file_id": file_id, "filename": filename, "index": len(self.text)}
        self.annotations.append(Annotation({"type": "file_citation", **place}))


class GuideResponder:
    """Useful from the first minute, and plain about being no assistant."""

    model = "soloist-guide"

    def __init__(self, documents: Iterable[Document], docs_url: str = "") -> None:
        self._index = SectionIndex(documents)
        self._docs_url = docs_url

    def close(self) -> None:
        """Drop the index."""
        self._index.close()

    async def answer(self, turn: Turn) -> AsyncGenerator[Piece, None]:
        """A chart, a call of a function, a passage of a file, or an answer from thread and documents."""
        phrases = KOREAN if is_korean(turn.prompt) else ENGLISH
        if wants_chart(turn):
            async for piece in chart_pieces(turn, phrases.chart):
                yield piece
            return
        outputs = new_outputs(turn)
        if not outputs and (named := named_tool(turn)):
            async for piece in call_pieces(*named):
                yield piece
            return
        hits = [] if outputs else await _file_hits(turn)
        if not outputs and turn.has_tool("file_search") and turn.vector_store_ids():
            results = [hit.result() for hit in hits]
            yield HostedTool("fs", {"type": "file_search_call", "queries": [turn.prompt], "results": results})
        answer = _quoted_outputs(outputs, phrases) if outputs else self._answer(turn, phrases, hits)
        for token in tokens_of(answer.text):
            yield TextDelta(token)
        for annotation in answer.annotations:
            yield annotation

    def _answer(self, turn: Turn, phrases: Phrases, hits: Sequence[Hit]) -> _Answer:
        answer = _Answer()
        if said := _from_thread(turn, phrases):
            answer.say(said)
        elif hits:
            _quote_files(answer, hits, phrases)
        elif _GREETING.fullmatch(turn.prompt) or _ABOUT_GUIDE.search(turn.prompt):
            answer.say(phrases.greeting)
        elif _THANKS.fullmatch(turn.prompt):
            answer.say(phrases.thanks)
        else:
            self._consult_documents(answer, turn.prompt, phrases)
        return answer

    def _consult_documents(self, answer: _Answer, question: str, phrases: Phrases) -> None:
        if not self._index.sections:
            answer.say(phrases.no_documents)
            return
        words = query_words(question)
        found = self._index.search(question)
        if not words and _ABOUT_SOLOIST.search(question):
            found = [one for one in self._index.sections if is_korean(one.body) == (phrases is KOREAN)]
            found = (found or self._index.sections)[:1]
        if not found:
            answer.say(phrases.miss)
            return
        best, *others = found
        answer.say(phrases.found.format(place=self._place(best)))
        answer.quote(excerpt(best, words, _EXCERPT_CHARS), best.document.file_id, best.document.filename)
        if others:
            answer.say(phrases.also.format(places=", ".join(map(self._place, others[:_OTHER_PLACES]))))
        answer.say(phrases.signature)

    def _place(self, section: Section) -> str:
        """Name a section, as a link where its document can be opened."""
        name = f"{section.document.filename}, “{_title(section)}”"
        url = f"{self._docs_url}{section.document.filename}#{section.anchor}"
        return f"[{name}]({url})" if self._docs_url else name


def _title(section: Section) -> str:
    return textwrap.shorten(section.heading, _HEADING_CHARS, placeholder=" …")


def _from_thread(turn: Turn, phrases: Phrases) -> str | None:
    """What the thread told before, or the receipt for what it tells now."""
    asked = asked_fact(turn.prompt)
    texts = [text_of(item) for item in turn.items if item["type"] == "message" and item["role"] == "user"]
    if asked is not None:
        fact = told_facts(texts).get(asked)
        if fact is None:
            return phrases.not_told.format(what=asked) if asked == "name" else None
        what = fact.korean if phrases is KOREAN else fact.what
        return phrases.recalled.format(what=what, value=fact.value)
    facts = list(told_facts([turn.prompt]).values())
    if not facts or "?" in turn.prompt:
        return None
    fact = facts[-1]
    what = fact.korean if phrases is KOREAN else fact.what
    return phrases.noted.format(what=what, value=fact.value)


def _quoted_outputs(outputs: Sequence[str], phrases: Phrases) -> _Answer:
    answer = _Answer()
    answer.say(phrases.tool_answered)
    for output in outputs:
        answer.say("\n".join(f"> {line}".rstrip() for line in output.splitlines()))
    answer.say(phrases.signature)
    return answer


async def _file_hits(turn: Turn) -> list[Hit]:
    files, stores = turn.attached_file_ids(), turn.vector_store_ids()
    if not files and not stores:
        return []
    words = query_words(turn.prompt)
    query = turn.prompt if is_korean(turn.prompt) or not words else " ".join(words)
    return await turn.resources.search_files(query, files, stores, _FILE_HITS)


def _quote_files(answer: _Answer, hits: Sequence[Hit], phrases: Phrases) -> None:
    for hit in hits:
        answer.say(phrases.found_in_file.format(filename=hit.filename))
        answer.quote(hit.text, hit.file_id, hit.filename)
    answer.say(phrases.signature)
