"""Opens the responder that the settings name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from app.embedded.documents import Document
from app.embedded.responders.base import Responder
from app.embedded.responders.guide import GuideResponder
from app.embedded.responders.scripted import ScriptedResponder
from app.embedded.settings import EmbeddedSettings


@asynccontextmanager
async def open_responder(
    settings: EmbeddedSettings, documents: Mapping[str, Document]
) -> AsyncIterator[Responder]:
    """The responder, closed on the way out.

    Raises EmbeddedStartError when the local model's package or file is missing.
    """
    if settings.responder == "local":
        from app.embedded.responders.local import open_local_responder

        async with open_local_responder(settings) as local:
            yield local
    elif settings.responder == "scripted":
        yield ScriptedResponder(settings.model, settings.seed)
    else:
        yield GuideResponder(documents.values(), settings.docs_url)
