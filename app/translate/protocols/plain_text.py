"""The answer as bare text, for `Accept: text/plain` and the AI SDK's text stream transport."""

from collections.abc import Mapping

from app.translate.events import DomainEvent, TextDelta
from app.translate.protocols.encoder import SSE_HEADERS, Paragraphs


class TextEncoder:
    """Text and nothing else: a failure cannot be said, so the connection is to be broken off."""

    media_type: str = "text/plain"
    headers: Mapping[str, str] = SSE_HEADERS
    keepalive: bytes = b""
    aborts_on_failure: bool = True

    def __init__(self) -> None:
        self._paragraphs = Paragraphs()

    def encode(self, event: DomainEvent) -> bytes:
        """Return the text of a delta; every other event is silent."""
        if isinstance(event, TextDelta):
            return self._paragraphs.text(event).encode("utf-8", "replace")
        return b""

    def close(self) -> bytes:
        """Return nothing: the end of the body is the end of the answer."""
        return b""
