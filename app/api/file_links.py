"""What a route adds to an answer's text and sources: citations as the operator wants them, links to files."""

from collections.abc import Callable

from app.core.config import Settings
from app.translate.citations import CitationStage, CitingEncoder
from app.translate.events import RunEnded
from app.translate.protocols.encoder import Encoder


def file_url(settings: Settings) -> Callable[[str], str]:
    """Return the function from a file id to where browsers get its content; relative without `PUBLIC_URL`."""
    base = (settings.public_url or "").rstrip("/")
    return lambda file_id: f"{base}/api/v1/files/{file_id}/content"


def cited(encoder: Encoder, settings: Settings) -> Encoder:
    """Return the encoder, behind what renders citations unless they stay raw."""
    mode = settings.citations
    return encoder if mode == "raw" else CitingEncoder(encoder, CitationStage(mode, file_url(settings)))


def cited_end(ended: RunEnded, settings: Settings) -> RunEnded:
    """Return the end of a run that was not streamed, its texts rendered."""
    mode = settings.citations
    return ended if mode == "raw" else CitationStage(mode, file_url(settings)).ended(ended)
