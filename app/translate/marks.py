"""Citations on the Assistants wire: every annotation has a text of its own that stands in the answer.

Clients replace `annotation.text` in the answer, as OpenAI's guides showed. The Responses API names only a
place in the text, so the text gets a mark there. Positions count Unicode code points, as Python does.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from msgspec.structs import replace

from app.translate.annotations import TextObject
from app.translate.citations import CitationStage
from app.translate.cited_text import LINK, OLD_MARK, CitationMode, CitedText, FileUrl, RenderedText
from app.translate.events import AnnotationAdded, DomainEvent, Json, MessageEnded, RunEnded, TextDelta

_OLD_MARK = re.compile(OLD_MARK)
_LINK = re.compile(LINK)
_UNFIT = re.compile(r"[】\s]+")


class MarkedText:
    """One text part as the model wrote it, with a mark such as `【0†notes.txt】` at each citation.

    An annotation that already has a text of its own, a link or an old mark keeps it. Has the methods of
    `CitedText`, but holds nothing back.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._chars = 0
        self._marks: list[str] = []
        self._positions: list[int] = []
        """The position of each mark in the text without marks, ascending."""
        self._ends = [0]
        """How many characters the first 0, 1, 2 … marks have together."""
        self._taken: set[tuple[int, int]] = set()
        self.spans: list[tuple[int, int]] = []
        """Start and end of the text that stands for each annotation."""

    @property
    def places(self) -> list[int]:
        """The position of each annotation in the rendered text."""
        return [start for start, _ in self.spans]

    @property
    def rendered(self) -> str:
        """All text so far, with its marks."""
        text, done, out = "".join(self._pieces), 0, []
        for position, mark in zip(self._positions, self._marks, strict=True):
            out += [text[done:position], mark]
            done = position
        return "".join([*out, text[done:]])

    def feed(self, text: str) -> str:
        """Add text."""
        self._pieces.append(text)
        self._chars += len(text)
        return text

    def cite(self, annotation: Json, source: Json) -> str:
        """Add an annotation of the text so far; returns the mark that follows the text, if it needs one."""
        own = self._own(annotation, source)
        self.spans.append(self._shifted(own) if own else self._mark(len(self.spans), source, self._chars))
        return "" if own else self._marks[-1]

    def settle(self) -> str:
        """Nothing is held back."""
        return ""

    def end(self) -> str:
        """End the text: nothing is left to return."""
        return ""

    def render(self, text: str, found: Sequence[tuple[Json, Json]]) -> str:
        """Render a whole text with its annotations."""
        self.feed(text)
        own = [self._own(*pair) for pair in found]
        places = [_place(*pair, self._chars) for pair in found]
        unmarked = [number for number, span in enumerate(own) if span is None]
        marked = {
            number: self._mark(number, found[number][1], places[number])
            for number in sorted(unmarked, key=places.__getitem__)
        }
        self.spans = [self._shifted(span) if span else marked[at] for at, span in enumerate(own)]
        return self.rendered

    def _own(self, annotation: Json, source: Json) -> tuple[int, int] | None:
        """Return the span that an annotation has in the text without marks, None if it needs a mark."""
        start, end = annotation["start_index"], annotation["end_index"]
        if start < end:
            return start, end
        text = "".join(self._pieces)
        self._pieces = [text]
        spans = _links(text, source) if source["type"] == "file_path" else _old_marks(text, end)
        own = next((span for span in spans if span not in self._taken), None)
        if own:
            self._taken.add(own)
        return own

    def _mark(self, number: int, source: Json, position: int) -> tuple[int, int]:
        """Add a mark behind those before it; returns its span."""
        name = source.get("filename") or source.get("title") or source.get("url") or source.get("file_id")
        mark = f"【{number}†{_UNFIT.sub(' ', str(name or 'source')).strip()}】"
        start = position + self._ends[-1]
        self._marks.append(mark)
        self._positions.append(position)
        self._ends.append(self._ends[-1] + len(mark))
        return start, start + len(mark)

    def _shifted(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return where a span of the text without marks is among them."""
        start, end = span
        before, within = bisect_right(self._positions, start), bisect_left(self._positions, end)
        return start + self._ends[before], end + self._ends[within]


class AssistantsStage(CitationStage):
    """Renders the citations of a run for the Assistants wire; the deltas of a message add up to its end."""

    def __init__(self, mode: CitationMode, file_url: FileUrl) -> None:
        super().__init__(mode, file_url)
        self._annotations: dict[tuple[str, int], list[Json]] = {}
        self._counts: dict[tuple[str, int], int] = {}

    def feed(self, event: DomainEvent) -> list[DomainEvent]:
        """Return the rendered events for one event; what is left out takes its sequence number with it."""
        match event:
            case RunEnded():
                # The wire shows no messages here.
                return [*self._close(), event]
            case MessageEnded():
                return [*self._close(), replace(event, message=self._ended(event.message))]
        return super().feed(event)

    def feed_all(self, events: list[DomainEvent]) -> list[DomainEvent]:
        """Return the rendered events for some; the last one has the sequence number of the last."""
        found = [rendered for event in events for rendered in self.feed(event)]
        if found and found[-1].sequence is None:
            found[-1].sequence = events[-1].sequence
        return found

    def _cited(self, event: AnnotationAdded) -> list[DomainEvent]:
        key = (event.message_id, event.index)
        part = self._part(*key)
        self._open = self._open or key
        # The text of an annotation must not come later than the annotation.
        text = part.cite(event.annotation, event.source) + part.settle()
        self._annotations.setdefault(key, []).append(event.annotation)
        shown = _shown(part, [event.annotation], part.spans[-1:], self._mode)
        if not shown:
            return [TextDelta(*key, text, sequence=event.sequence)] if text else []
        number = self._counts.get(key, 0)
        self._counts[key] = number + 1
        return [replace(event, annotation_index=number, annotation=shown[0], text=text)]

    def _ended(self, message: Json) -> Json:
        return {
            **message,
            "content": [self._ended_part((message["id"], n), c) for n, c in enumerate(message["content"])],
        }

    def _ended_part(self, key: tuple[str, int], content: Json) -> Json:
        part = self._parts.get(key)
        if part is None or content["type"] != "text":
            return content
        shown = _shown(part, self._annotations.get(key, []), part.spans, self._mode)
        return {"type": "text", "text": {"value": part.rendered, "annotations": shown}}

    def _new_part(self) -> RenderedText:
        return _new_part(self._mode, self._numbers, self._file_url)


def text_objects(mode: CitationMode, file_url: FileUrl) -> TextObject:
    """Return the function that renders the texts of one whole message."""
    numbers: dict[str, int] = {}

    def render(text: str, found: Sequence[tuple[Json, Json]]) -> Json:
        part = _new_part(mode, numbers, file_url)
        part.render(text, found)
        part.end()
        shown = _shown(part, [annotation for annotation, _ in found], part.spans, mode)
        return {"value": part.rendered, "annotations": shown}

    return render


def _new_part(mode: CitationMode, numbers: dict[str, int], file_url: FileUrl) -> RenderedText:
    return MarkedText() if mode == "raw" else CitedText(mode, numbers, file_url)


def _shown(
    part: RenderedText,
    annotations: Sequence[Json],
    spans: Sequence[tuple[int, int]],
    mode: CitationMode,
) -> list[Json]:
    """Return annotations as they are shown; none whose text is empty, as clients would replace nothing."""
    text = part.rendered
    return [
        {**annotation, "text": text[start:end], "start_index": start, "end_index": end}
        for annotation, (start, end) in zip(annotations, spans, strict=True)
        if start < end and mode != "strip"
    ]


def _place(annotation: Json, source: Json, chars: int) -> int:
    """Return where the mark of an annotation goes in a text of so many characters."""
    place = int(annotation["end_index"])
    # Upstreams send 0 for a generated file that the text does not link to.
    return chars if source["type"] == "file_path" and place == 0 else place


def _links(text: str, source: Json) -> list[tuple[int, int]]:
    """Return where the text links to a generated file."""
    ending = f"/{source.get('filename')}"
    return [link.span() for link in _LINK.finditer(text) if link.group().endswith(ending)]


def _old_marks(text: str, position: int) -> list[tuple[int, int]]:
    """Return where the model wrote marks itself, one after the other, at a position."""
    found: list[tuple[int, int]] = []
    last = position
    while (start := text.rfind("【", 0, last + 1)) >= 0:
        mark = _OLD_MARK.match(text, start)
        if mark is None or mark.end() < last:
            break
        found.insert(0, mark.span())
        last = start - 1
    return found
