"""Sources written into the text of an answer: marks where they are cited, a list of them at its end.

`CITATIONS=raw` leaves everything as the model wrote it and does not come here. The other ways also see to
what only an API could read: old marks such as `【4:0†source】`, and `sandbox:` links to generated files. A
stream cannot take back what it has sent, so text from such a mark on is held for a moment: its annotation
comes just behind it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

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
"""What may become one with the next piece of text."""

_SPECIAL = re.compile(r"([\[\]\\])")


class SourceNumbers:
    """Numbers the sources of one answer, the same source always the same."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, source: Json) -> int:
        """Return the number of a source in its flat form."""
        name = str(source.get("url") or source.get("file_id") or source.get("filename"))
        return self._numbers.setdefault(name, len(self._numbers) + 1)


class CitedText:
    """One text part, rendered while it grows. `feed`, `cite` and `end` return what can be sent now."""

    def __init__(self, mode: CitationMode, numbers: SourceNumbers, file_url: FileUrl) -> None:
        self._mode = mode
        self._numbers = numbers
        self._file_url = file_url
        self._sent: list[str] = []
        self._sent_chars = 0
        self._held = ""
        self._files: dict[str, str] = {}
        self.sources: dict[int, str] = {}
        """What is cited, by number, ready for a list."""
        self.places: list[int] = []
        """Where in the rendered text each annotation is, in the order in which they came."""

    @property
    def rendered(self) -> str:
        """All that was returned so far."""
        return "".join(self._sent)

    def feed(self, text: str) -> str:
        """More text came."""
        self._held += text
        return self._release(_HOLD_CHARS)

    def cite(self, annotation: Json, source: Json) -> str:
        """An annotation of the text so far came, in the Assistants form and in the flat one."""
        if source["type"] == "file_path":
            self._link_file(source)
        else:
            self._mark(annotation, source)
        return self._release(_HOLD_CHARS)

    def end(self) -> str:
        """The text is whole: let everything go, and the list of sources after it."""
        return self._release(0) + self._send(self._list())

    def render(self, text: str, found: Sequence[tuple[Json, Json]]) -> str:
        """Render a whole text without a list of sources; annotations are told where they end."""
        done = 0
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
        match = next((each for each in self._links() if not name or each.group().endswith("/" + name)), None)
        if match:
            self._replace(match.start(), match.end(), url)
            self._note(self._sent_chars + match.start() + len(url))
            return
        self._files[url] = f"[{_escaped(name or 'file')}]({url})"
        self._note(self._sent_chars + len(self._held))

    def _mark(self, annotation: Json, source: Json) -> None:
        mark = self._mark_of(annotation, source)
        old = next((each for each in _TOKEN.finditer(self._held) if each.group().startswith("【")), None)
        if old:
            self._replace(old.start(), old.end(), mark)
            self._note(self._sent_chars + old.start())
            return
        self._note(self._sent_chars + len(self._held))
        if not (self._held or (self._sent or [""])[-1]).endswith(mark):
            self._held += mark

    def _mark_of(self, annotation: Json, source: Json) -> str:
        """Return a source's mark and keep it for the list; nothing where the text has its address."""
        url = source.get("url")
        if self._mode == "strip" or (url and url in annotation.get("text", "")):
            return ""
        number = self._numbers.of(source)
        label = _escaped(str(source.get("title") or source.get("filename") or url or "source"))
        self.sources[number] = f"[{label}]({url})" if url else label
        return f"[^{number}]" if self._mode == "footnotes" else f"[{number}]"

    def _links(self) -> Iterator[re.Match[str]]:
        return (each for each in _TOKEN.finditer(self._held) if each.group().startswith("sandbox:"))

    def _replace(self, start: int, end: int, text: str) -> None:
        moved = len(text) - (end - start)
        behind = self._sent_chars + end
        self.places = [place + moved if place >= behind else place for place in self.places]
        self._held = self._held[:start] + text + self._held[end:]

    def _note(self, at: int) -> None:
        self.places.append(at)

    def _release(self, patience: int) -> str:
        """Send what is held up to the first mark or link that may still be cited."""
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
        """Settle a mark or link that nothing cites: an old mark says nothing, a link stays as it is."""
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
    """Between a run's events and an encoder: text and sources come out rendered.

    What all deltas of a message add up to, the sources after it included, is what `RunEnded` tells of it.
    """

    def __init__(self, mode: CitationMode, file_url: FileUrl) -> None:
        self._mode = mode
        self._file_url = file_url
        self._numbers = SourceNumbers()
        self._parts: dict[tuple[str, int], CitedText] = {}
        self._open: tuple[str, int] | None = None

    def feed(self, event: DomainEvent) -> list[DomainEvent]:
        """Return what becomes of one event; the last one keeps its sequence number."""
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
        """Return the end of a run with its messages and sources rendered."""
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
        """Render a text that was not followed."""
        cited = CitedText(self._mode, self._numbers, self._file_url)
        cited.render(text["value"], list(zip(text["annotations"], sources, strict=False)))
        cited.end()
        return cited


class CitingEncoder:
    """Any encoder, behind a stage that renders citations."""

    def __init__(self, inner: Encoder, stage: CitationStage) -> None:
        self._inner = inner
        self._stage = stage
        self.media_type = inner.media_type
        self.headers: Mapping[str, str] = inner.headers
        self.keepalive = inner.keepalive
        self.aborts_on_failure = inner.aborts_on_failure

    def encode(self, event: DomainEvent) -> bytes:
        """Return the frames of one event."""
        return b"".join(map(self._inner.encode, self._stage.feed(event)))

    def close(self) -> bytes:
        """Return the frames that end the stream."""
        return self._inner.close()
