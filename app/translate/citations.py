"""Writes sources into the text of an answer: a mark at each citation and a list at the end.

`CITATIONS=raw` leaves the text as the model wrote it and does not come here. The other modes also replace
what only an API client can use: old marks such as `【4:0†source】`, and `sandbox:` links to generated files.
A stream cannot take back what it has sent, so text is held back from such a mark on until its annotation
arrives, which usually follows at once.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec.structs import replace

from app.translate.events import (
    AnnotationAdded,
    DomainEvent,
    Json,
    MessageEnded,
    RunEnded,
    StreamFailed,
    TextDelta,
)
from app.translate.protocols.encoder import Encoder

CitationMode = Literal["raw", "markdown", "footnotes", "strip"]
FileUrl = Callable[[str], str]

_HOLD_CHARS = 240
_MARK = r"【\d+(?::\d+)?†[^】\n]{0,80}】"
_LINK = r"sandbox:/[^\s()<>\[\]\"'`]+"
_TOKEN = re.compile(f"{_MARK}|{_LINK}")
_GROWING = re.compile(r"(?:【[^】\n]{0,90}|sandbox(?::/?)?|\((?:s(?:a(?:n(?:d(?:bo?)?)?)?)?)?)\Z")
"""The start of a mark or link that the next piece of text may complete."""

_SPECIAL = re.compile(r"([\[\]\\])")


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

    @property
    def rendered(self) -> str:
        """All text returned so far."""
        return "".join(self._sent)

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
        self.places = [self.places[order.index(number)] for number in range(len(found))]
        return self.rendered

    def _link_file(self, source: Json) -> None:
        url = self._file_url(source["file_id"])
        name = str(source.get("filename") or "")
        ending = "/" + name if name else ""
        links = (each for each in _TOKEN.finditer(self._held) if each.group().startswith("sandbox:"))
        match = next((each for each in links if each.group().endswith(ending)), None)
        if match:
            self._replace(match.start(), match.end(), url)
            self.places.append(self._sent_chars + match.start() + len(url))
            return
        self._files[url] = f"[{_escaped(name or 'file')}]({url})"
        self.places.append(self._sent_chars + len(self._held))

    def _mark(self, annotation: Json, source: Json) -> None:
        mark = self._mark_of(annotation, source)
        old = next((each for each in _TOKEN.finditer(self._held) if each.group().startswith("【")), None)
        if old:
            self._replace(old.start(), old.end(), mark)
            self.places.append(self._sent_chars + old.start())
            return
        self.places.append(self._sent_chars + len(self._held))
        # Two citations of one source in a row share its mark.
        if not (self._held or (self._sent or [""])[-1]).endswith(mark):
            self._held += mark

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


class CitationStage:
    """Renders the citations in a run's events on their way to an encoder.

    The deltas of a message, with the list of sources, add up to its text in `RunEnded`.
    """

    def __init__(self, mode: CitationMode, file_url: FileUrl) -> None:
        self._mode = mode
        self._file_url = file_url
        self._numbers: dict[str, int] = {}
        self._parts: dict[tuple[str, int], CitedText] = {}
        self._open: tuple[str, int] | None = None

    def feed(self, event: DomainEvent) -> list[DomainEvent]:
        """Return the rendered events for one event; the last one keeps its sequence number."""
        match event:
            case TextDelta(kind="text"):
                closed = self._close() if self._open != (event.message_id, event.index) else []
                self._open = (event.message_id, event.index)
                text = self._part(*self._open).feed(event.text)
                return [*closed, replace(event, text=text)] if text else closed
            case AnnotationAdded():
                return self._cited(event)
            case MessageEnded() | StreamFailed():
                return [*self._close(), event]
            case RunEnded():
                return [*self._close(), self.ended(event)]
        return [event]

    def ended(self, event: RunEnded) -> RunEnded:
        """Return the end of a run with rendered messages and sources."""
        sources = list(event.sources)
        places: list[int] = []
        messages = [self._message(message, sources, places) for message in event.messages]
        moved = [
            {**source, "index": place} for source, place in zip(sources, places, strict=False)
        ] + sources[len(places) :]
        return replace(event, messages=messages, sources=moved)

    def _cited(self, event: AnnotationAdded) -> list[DomainEvent]:
        key = (event.message_id, event.index)
        part = self._part(*key)
        self._open = self._open or key
        text = part.cite(event.annotation, event.source)
        moved = replace(event, source={**event.source, "index": part.places[-1]})
        return [TextDelta(*key, text), moved] if text else [moved]

    def _part(self, message_id: str, index: int) -> CitedText:
        key = (message_id, index)
        if key not in self._parts:
            self._parts[key] = CitedText(self._mode, self._numbers, self._file_url)
        return self._parts[key]

    def _close(self) -> list[DomainEvent]:
        if self._open is None:
            return []
        key, self._open = self._open, None
        text = self._parts[key].end()
        return [TextDelta(*key, text)] if text else []

    def _message(self, message: Json, sources: list[Json], places: list[int]) -> Json:
        content = []
        for index, part in enumerate(message["content"]):
            if part["type"] != "text":
                content.append(part)
                continue
            own = sources[len(places) : len(places) + len(part["text"]["annotations"])]
            cited = self._parts.get((message["id"], index)) or self._whole(part["text"], own)
            places += (cited.places + [source["index"] for source in own[len(cited.places) :]])[: len(own)]
            content.append({**part, "text": {**part["text"], "value": cited.rendered}})
        return {**message, "content": content}

    def _whole(self, text: Json, sources: list[Json]) -> CitedText:
        """Render a text that no deltas came for."""
        cited = CitedText(self._mode, self._numbers, self._file_url)
        cited.render(text["value"], list(zip(text["annotations"], sources, strict=False)))
        cited.end()
        return cited


class CitingEncoder(Encoder):
    """An encoder whose events pass a `CitationStage` first."""

    def __init__(self, inner: Encoder, stage: CitationStage) -> None:
        self._inner = inner
        self._stage = stage
        self.media_type = inner.media_type
        self.headers = inner.headers
        self.keepalive = inner.keepalive
        self.aborts_on_failure = inner.aborts_on_failure

    def encode(self, event: DomainEvent) -> bytes:
        """Return the frames of one event."""
        return b"".join(map(self._inner.encode, self._stage.feed(event)))

    def close(self) -> bytes:
        """Return what ends the stream of the inner encoder."""
        return self._inner.close()
