"""The offline guide's documents as pages, so that its links open them at the section they name."""

import html
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.api.root_page import inline_style
from app.core.config import PROJECT_ROOT, Settings
from app.core.errors import NotFoundError

_STYLE, _POLICY = inline_style(
    ":root{color-scheme:light dark}"
    "body{font:16px/1.6 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1.2rem}"
    "pre{font-size:14px;white-space:pre-wrap;overflow-wrap:anywhere}"
    ":target{border-left:4px solid #2f6fde;padding-left:.6rem}"
)
_PAGE = """<!doctype html>
<html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title>{style}
{sections}
</html>
"""


def has_guide(settings: Settings) -> bool:
    """Return whether the offline guide answers, and its links lead here."""
    return settings.upstream_kind == "embedded" and settings.embedded_responder == "guide"


def build_router() -> APIRouter:
    """Return the route of the documents, which are read once."""
    # Imported here so that a service with a key does not load the embedded upstream.
    from app.embedded.documents import read_documents
    from app.embedded.responders.sections import Section, sections_of

    def page(name: str, sections: Iterable[Section]) -> str:
        shown = (
            f'<h2 id="{html.escape(one.anchor)}">{html.escape(one.heading)}</h2>\n'
            f"<pre>{html.escape(one.body, quote=False)}</pre>"
            for one in sections
        )
        return _PAGE.format(name=html.escape(name), style=_STYLE, sections="\n".join(shown))

    documents = read_documents(PROJECT_ROOT).values()
    pages = {one.filename: page(one.filename, sections_of(one)) for one in documents}
    router = APIRouter(include_in_schema=False)

    async def read_document(name: str) -> HTMLResponse:
        if name not in pages:
            raise NotFoundError("The guide has no such document.")
        return HTMLResponse(pages[name], headers={"content-security-policy": _POLICY})

    router.add_api_route("/guide/{name:path}", read_document, methods=["GET", "HEAD"])
    return router
