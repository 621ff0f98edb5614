"""Renders the citations of chat answers on their way to an encoder; `CITATIONS=raw` does not come here."""

from msgspec.structs import replace

from app.translate.cited_text import CitationMode, CitedText, FileUrl, RenderedText
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


class CitationStage:
    """Renders the citations in a run's events on their way to an encoder.

    The deltas of a message, with the list of sources, add up to its text in `RunEnded`.
    """

    def __init__(self, mode: CitationMode, file_url: FileUrl) -> None:
        self._mode = mode
        self._file_url = file_url
        self._numbers: dict[str, int] = {}
        self._parts: dict[tuple[str, int], RenderedText] = {}
        self._open: tuple[str, int] | None = None
        self._commentary: set[str] = set()
        """The ids of the messages that are no answer."""

    def feed(self, event: DomainEvent) -> list[DomainEvent]:
        """Return the rendered events for one event; the last one keeps its sequence number."""
        match event:
            case TextDelta(kind="text"):
                closed = self._close() if self._open != (event.message_id, event.index) else []
                self._open = (event.message_id, event.index)
                if event.is_commentary:
                    self._commentary.add(event.message_id)
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
        return [self._delta(key, text), moved] if text else [moved]

    def _delta(self, key: tuple[str, int], text: str) -> TextDelta:
        return TextDelta(*key, text, is_commentary=key[0] in self._commentary)

    def _part(self, message_id: str, index: int) -> RenderedText:
        key = (message_id, index)
        if key not in self._parts:
            self._parts[key] = self._new_part()
        return self._parts[key]

    def _new_part(self) -> RenderedText:
        return CitedText(self._mode, self._numbers, self._file_url)

    def _close(self) -> list[DomainEvent]:
        if self._open is None:
            return []
        key, self._open = self._open, None
        text = self._parts[key].end()
        return [self._delta(key, text)] if text else []

    def _message(self, message: Json, sources: list[Json], places: list[int]) -> Json:
        content = []
        for index, part in enumerate(message["content"]):
            if part["type"] != "text":
                content.append(part)
                continue
            own = sources[len(places) : len(places) + len(part["text"]["annotations"])]
            cited = self._parts.get((message["id"], index)) or self._whole(part["text"], own)
            places += ([*cited.places] + [source["index"] for source in own[len(cited.places) :]])[: len(own)]
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
