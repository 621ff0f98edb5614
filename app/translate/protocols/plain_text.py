"""The answer as bare text, for `Accept: text/plain` and the AI SDK's text stream transport."""

from app.translate.events import DomainEvent, TextDelta
from app.translate.protocols.encoder import Encoder, Paragraphs


class TextEncoder(Encoder):
    """Text and nothing else. It cannot express a failure, so the connection is aborted then."""

    media_type: str = "text/plain"
    keepalive: bytes = b""
    aborts_on_failure: bool = True

    def __init__(self) -> None:
        self._paragraphs = Paragraphs()

    def encode(self, event: DomainEvent) -> bytes:
        """Return the text of a delta, and nothing for other events."""
        if isinstance(event, TextDelta) and not event.is_commentary:
            return self._paragraphs.text(event).encode("utf-8", "replace")
        return b""
