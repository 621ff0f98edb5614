"""Writes sources into one text: a mark at each citation and a list at the end.

It also replaces what only an API client can use: old marks such as `【4:0†source】`, and `sandbox:` links
to generated files. A stream cannot take back what it has sent, so text is held back from such a mark on until
its annotation arrives, which usually follows at once.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from app.translate.events import Json

CitationMode = Literal["raw", "markdown", "footnotes", "strip"]
FileUrl = Callable[[str], str]

_HOLD_CHARS = 240
OLD_MARK = r"【\d+(?::\d+)?†[^】\n]{0,80}】"
LINK = r"sandbox:/[^\s()<>\[\]\"'`]+"
_TOKEN = re.compile(f"{OLD_MARK}|{LINK}")
_GROWING = re.compile(r"(?:【[^】\n]{0,90}|sandbox(?::/?)?|\((?:s(?:a(?:n(?:d(?:bo?)?)?)?)?)?)\Z")
"""The start of a mark or link that the next piece of text may complete."""

_SPECIAL = re.compile(r"([\[\]\\])")


class RenderedText(Protocol):
    """One text part that is rendered while it grows; `feed`, `cite` and `end` return what can be sent now."""

    spans: list[tuple[int, int]]
    """Start and end of the text that stands for each annotation, equal where there is none."""

    @property
    def rendered(self) -> str:
        """All text so far, with what is still held back."""

    @property
    def places(self) -> Sequence[int]:
        """The position of each annotation in the rendered text, in order of arrival."""

    def feed(self, text: str) -> str:
        """Add text."""

    def cite(self, annotation: Json, source: Json) -> str:
        """Add an annotation of the text so far, given in the Assistants form and in the flat form."""

    def settle(self) -> str:
        """Return what is still held back of the text up to the last annotation."""

    def end(self) -> str:
        """End the text."""

    def render(self, text: str, found: Sequence[tuple[Json, Json]]) -> str:
        """Render a whole text with its annotations."""


class CitedText:
    """Renders one text part while it grows; `feed`, `cite` and `end` return the text that can be sent now.

    All parts of an answer share `numbers`, so that a source has the same number in each of them.
    """

    def __init__(self, mode: CitationMode, numbers: dict[str, int], file_url: FileUrl) -> None:
        self._mode = mode
        self._numbers = numbers
        self._file_url = file_url
        self._sent: list[str] = []
        self._sent_chars = 0
        self._held = ""
        self._files: dict[str, str] = {}
        self.sources: dict[int, str] = {}
        """The cited sources by number, as lines of a list."""
        self.places: list[int] = []
        """The position of each annotation in the rendered text, in order of arrival."""
        self.spans: list[tuple[int, int]] = []
        """Start and end of the text that stands for each annotation, equal where there is none."""

    @property
    def rendered(self) -> str:
        """All text so far, with what is still held back."""
        return "".join(self._sent) + self._held

    def feed(self, text: str) -> str:
        """Add text."""
        self._held += text
        return self._release(_HOLD_CHARS)

    def cite(self, annotation: Json, source: Json) -> str:
        """Add an annotation of the text so far, given in the Assistants form and in the flat form."""
        if source["type"] == "file_path":
            self._link_file(source)
        else:
            self._mark(annotation, source)
        return self._release(_HOLD_CHARS)

    def settle(self) -> str:
        """Return what is held back of the text up to the last annotation; marks in it are given up."""
        out = ""
        while (left := self.spans[-1][1] - self._sent_chars) > 0:
            match = _TOKEN.search(self._held, 0, left)
            out += self._send(self._take(match.start() if match else left))
            if match:
                out += self._give_up(match.end() - match.start())
        return out

    def end(self) -> str:
        """End the text: return what is held back, and the list of sources."""
        return self._release(0) + self._send(self._list())

    def render(self, text: str, found: Sequence[tuple[Json, Json]]) -> str:
        """Render a whole text with its annotations, without a list of sources."""
        done = 0
        # Marks are inserted from left to right, but places are returned in the given order.
        order = sorted(range(len(found)), key=lambda number: found[number][0]["end_index"])
        for number in order:
            annotation, source = found[number]
            self.feed(text[done : annotation["end_index"]])
            self.cite(annotation, source)
            done = max(done, annotation["end_index"])
        self.feed(text[done:])
        self._release(0)
        ranks = sorted(range(len(order)), key=order.__getitem__)
        self.places = [self.places[rank] for rank in ranks]
        self.spans = [self.spans[rank] for rank in ranks]
        return self.rendered

    def _link_file(self, source: Json) -> None:
        url = self._file_url(source["file_id"])
        name = str(source.get("filename") or "")
        ending = "/" + name if name else ""
        links = (each for each in _TOKEN.finditer(self._held) if each.group().startswith("sandbox:"))
        match = next((each for each in links if each.group().endswith(ending)), None)
        if match:
            self._replace(match.start(), match.end(), url)
            self._note(match.start(), len(url), is_behind=True)
            return
        self._files[url] = f"[{_escaped(name or 'file')}]({url})"
        self._note(len(self._held), 0)

    def _mark(self, annotation: Json, source: Json) -> None:
        mark = self._mark_of(annotation, source)
        old = next((each for each in _TOKEN.finditer(self._held) if each.group().startswith("【")), None)
        if old:
            self._replace(old.start(), old.end(), mark)
            self._note(old.start(), len(mark))
        elif not mark:
            self._note_own(annotation["text"])
        elif (self._held or (self._sent or [""])[-1]).endswith(mark):
            # Two citations of one source in a row share its mark.
            self._note(len(self._held) - len(mark), len(mark), is_behind=True)
        else:
            self._note(len(self._held), len(mark))
            self._held += mark

    def _note_own(self, text: str) -> None:
        """Note an annotation whose text the model wrote, at the end of what there is so far."""
        self._note(len(self._held), 0)
        if (start := self.rendered.rfind(text)) >= 0:
            self.spans[-1] = (start, start + len(text))

    def _note(self, start: int, chars: int, *, is_behind: bool = False) -> None:
        """Note the place of an annotation; `start` counts from the held text."""
        start += self._sent_chars
        self.spans.append((start, start + chars))
        self.places.append(start + chars if is_behind else start)

    def _mark_of(self, annotation: Json, source: Json) -> str:
        """Return the mark of a source and add it to the list; empty if the text shows its URL."""
        url = source.get("url")
        if self._mode == "strip" or (url and url in annotation.get("text", "")):
            return ""
        name = str(url or source.get("file_id") or source.get("filename"))
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        label = _escaped(str(source.get("title") or source.get("filename") or url or "source"))
        self.sources[number] = f"[{label}]({url})" if url else label
        return f"[^{number}]" if self._mode == "footnotes" else f"[{number}]"

    def _replace(self, start: int, end: int, text: str) -> None:
        # Positions behind the replaced text move with it.
        moved = len(text) - (end - start)
        behind = self._sent_chars + end
        self.places = [place + moved if place >= behind else place for place in self.places]
        self.spans = [
            (start + moved, end + moved) if start >= behind else (start, end) for start, end in self.spans
        ]
        self._held = self._held[:start] + text + self._held[end:]

    def _release(self, patience: int) -> str:
        """Send the held text up to the first mark or link that an annotation may still claim.

        One that more than `patience` characters follow is not waited for any longer.
        """
        out = ""
        while match := _TOKEN.search(self._held):
            out += self._send(self._take(match.start()))
            if len(self._held) <= patience:
                return out
            out += self._give_up(match.end() - match.start())
        growing = _GROWING.search(self._held)
        waits = growing is not None and len(growing.group()) <= patience
        return out + self._send(self._take(growing.start() if growing and waits else len(self._held)))

    def _give_up(self, chars: int) -> str:
        """Drop an old mark that no annotation claims; a link stays as it is."""
        if self._held.startswith("【"):
            self._replace(0, chars, "")
            return ""
        return self._send(self._take(chars))

    def _take(self, chars: int) -> str:
        taken, self._held = self._held[:chars], self._held[chars:]
        return taken

    def _send(self, text: str) -> str:
        if text:
            self._sent.append(text)
            self._sent_chars += len(text)
        return text

    def _list(self) -> str:
        form = "[^{}]: {}" if self._mode == "footnotes" else "- [{}] {}"
        lines = [form.format(number, line) for number, line in sorted(self.sources.items())]
        lines += [f"- {link}" for link in self._files.values()]
        return "\n\n" + "\n".join(lines) if lines else ""


def _escaped(label: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(label.split()))
