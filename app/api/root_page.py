"""What a browser gets at `/`: links, who answers, and a line to try; programs get JSON there."""

import base64
import hashlib
import html
from collections.abc import Mapping
from typing import Any

from fastapi.responses import HTMLResponse

from app.core.config import VERSION


def inline_style(css: str) -> tuple[str, str]:
    """Return a style element and the policy that allows it, by its hash, and nothing foreign."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return f"<style>{css}</style>", policy


_STYLE, _POLICY = inline_style(
    ":root{color-scheme:light dark}"
    "body{font:16px/1.6 system-ui,sans-serif;max-width:44rem;margin:12vh auto;padding:0 1.2rem}"
    "h1{margin:0}nav a{margin-right:1.4rem}"
    "pre{padding:1rem;border:1px solid #8886;border-radius:8px;white-space:pre-wrap;overflow-wrap:anywhere}"
)
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><link rel="icon" href="favicon.ico">{style}
<h1>{name}</h1>
<p>Soloist {version} is running. {upstream}</p>
<nav>{links}</nav>
<p>Try it:</p>
<pre>{command}</pre>
</html>
"""
_KEYLESS = (
    "No key is set, so the embedded upstream answers. "
    "To use OpenAI, set <code>OPENAI_API_KEY</code> and start again."
)
# What may be linked, by its name in the JSON: relative addresses, so that they hold behind a prefix too.
_LINKS = {
    "playground": ("playground", "Chat"),
    "docs": ("docs", "API docs"),
    "openapi": ("openapi.json", "OpenAPI"),
    "ready": ("api/v1/ready", "Status"),
}
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path fill="#2f6fde" d="M6 3h20a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H15l-7 6v-6'
    'H6a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z"/>'
    '<circle cx="16" cy="13" r="4" fill="#fff"/></svg>'
)


def wants_page(accept: str) -> bool:
    """Return whether an `Accept` header is a browser's; programs send `*/*` or JSON."""
    return "text/html" in accept.lower()


def root_page(card: Mapping[str, Any], base_url: str, *, needs_key: bool) -> HTMLResponse:
    """Return the page for what `GET /` tells; `base_url` is the service's address with a slash at its end."""
    anchors = [f'<a href="{url}">{text}</a>' for name, (url, text) in _LINKS.items() if card["links"][name]]
    upstream = card["upstream"]
    answering = f"Answers come from {html.escape(upstream['kind'])}, model {html.escape(upstream['model'])}."
    text = _PAGE.format(
        name=html.escape(card["assistant"]["name"] or card["name"]),
        style=_STYLE,
        version=VERSION,
        upstream=_KEYLESS if upstream["kind"] == "embedded" else answering,
        links="\n".join(anchors),
        command=html.escape(_curl(base_url, needs_key=needs_key), quote=False),
    )
    return HTMLResponse(text, headers={"content-security-policy": _POLICY})


def _curl(base_url: str, *, needs_key: bool) -> str:
    key = "-H 'authorization: Bearer YOUR_KEY' " if needs_key else ""
    return (
        f"curl {base_url}api/v1/chat {key}-H 'content-type: application/json' "
        """-d '{"message":"Hello"}'"""
    )
