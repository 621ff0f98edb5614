"""The playground, the widget and Swagger UI, which npm builds from web/ into web/dist."""

import hashlib
import html
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.api.dependencies import AssistantDep, AuthenticatorDep, HealthDep, SettingsDep
from app.api.responses import JsonResponse
from app.core.config import PROJECT_ROOT, Settings
from app.core.errors import NotFoundError
from app.core.security.sessions import Session

BUNDLE = PROJECT_ROOT / "web" / "dist"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_UNBUILT = (
    "The playground is not built yet: install Node.js 20 or newer, then start the service with ./run.sh, "
    "or run “npm ci && npm run build” in the folder web and start the service again."
)
_NO_SESSIONS = (
    "This service asks for a key, and a page must not hold one: set PLAYGROUND_TOKEN_URL to an address of "
    "your own backend that mints sessions, or on your own machine PLAYGROUND_SESSIONS=true."
)
_DOCS = "docs.html"
_PLAYGROUND = "playground.html"
_SESSION_PATH = "/playground/session"
# Scripts and styles come from this service only; blob: is for pictures that the page has downloaded itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; {media}"
    "connect-src 'self'{sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Browsers fetch modules with CORS; the files are the same for everybody.
_SHARED = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    gzipped: bytes
    media_type: str
    etag: str


class Bundle:
    """The built files, read once: they are few, and take some hundred kilobytes."""

    def __init__(self, folder: Path) -> None:
        paths = (path for path in folder.rglob("*") if path.suffix in _TYPES and path.is_file())
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
        tags = "".join(sorted(file.etag for file in self._files.values()))
        self.version = hashlib.sha256(tags.encode()).hexdigest()[:12]

    def get(self, name: str) -> _File | None:
        """Return a file by its path below the bundle's folder."""
        return self._files.get(name)


def _read(path: Path) -> _File:
    body = path.read_bytes()
    gzipped = path.with_name(path.name + ".gz")
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return _File(body, gzipped.read_bytes() if gzipped.is_file() else b"", _TYPES[path.suffix], etag)


def has_docs() -> bool:
    """Return whether the bundle has `/docs`; FastAPI's own page would load from a CDN."""
    return (BUNDLE / _DOCS).is_file()


def has_playground() -> bool:
    """Return whether the bundle has the chat page."""
    return (BUNDLE / _PLAYGROUND).is_file()


def build_router(settings: Settings) -> APIRouter:
    """Return the routes of `/embed.js` and `/assets`, and of `/playground` and `/docs` where enabled."""
    bundle = Bundle(BUNDLE)
    router = APIRouter(include_in_schema=False)

    async def read_embed(request: Request) -> Response:
        return _serve(request, bundle.get("embed.js"), "public, max-age=300")

    async def read_asset(request: Request, name: str) -> Response:
        # Names or queries of assets hold a hash of their content, so that they may be kept for good.
        return _serve(request, bundle.get(f"assets/{name}"), "public, max-age=31536000, immutable")

    async def read_playground(assistant: AssistantDep, health: HealthDep, settings: SettingsDep) -> Response:
        upstream = health.describe()
        config = {
            "assistant": assistant.name,
            "description": assistant.description,
            "model": upstream["model"],
            "upstream": upstream["kind"],
            "responder": upstream.get("responder"),
            "token_url": _token_url(settings),
            "closed": None if settings.auth_mode == "none" or _token_url(settings) else _NO_SESSIONS,
        }
        values = {
            "{{title}}": html.escape(assistant.name),
            # "<" could end the script element that holds the JSON.
            "{{config}}": orjson.dumps(config).decode().replace("<", "\\u003c"),
        }
        return _filled(bundle, _PLAYGROUND, values, _policy(settings))

    async def read_docs() -> Response:
        return _filled(bundle, _DOCS, {"{{title}}": "Soloist"}, _POLICY.format(media="", sources=""))

    async def mint_session(authenticator: AuthenticatorDep, settings: SettingsDep) -> Response:
        expires_at = int(time.time()) + settings.session_ttl_seconds
        session = Session(key_name=next(iter(settings.api_keys)), user="playground", expires_at=expires_at)
        token = authenticator.sessions.mint(session)
        return JsonResponse({"client_secret": token, "expires_at": expires_at})

    router.add_api_route("/embed.js", read_embed, methods=["GET", "HEAD"])
    router.add_api_route("/assets/{name}", read_asset, methods=["GET", "HEAD"])
    if settings.docs_enabled and bundle.get(_DOCS):
        router.add_api_route("/docs", read_docs, methods=["GET", "HEAD"])
    if settings.playground_enabled:
        router.add_api_route("/playground", read_playground, methods=["GET", "HEAD"])
        if settings.playground_sessions and settings.auth_mode != "none":
            router.add_api_route(_SESSION_PATH, mint_session, methods=["POST"])
    return router


def _token_url(settings: Settings) -> str | None:
    """Return the URL where the page gets sessions, or None if it needs none or cannot get any."""
    if settings.auth_mode == "none":
        return None
    return settings.playground_token_url or (_SESSION_PATH[1:] if settings.playground_sessions else None)


def _serve(request: Request, file: _File | None, caching: str) -> Response:
    if file is None:
        raise NotFoundError(
            "No such file. If the pages were never built, run npm ci && npm run build in web."
        )
    headers = {"etag": file.etag, "cache-control": caching, "vary": "accept-encoding", **_SHARED}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    body = file.body
    if file.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
        body = file.gzipped
        headers["content-encoding"] = "gzip"
    return Response(body, media_type=file.media_type, headers=headers)


def _filled(bundle: Bundle, name: str, values: Mapping[str, str], policy: str) -> Response:
    """Return a page of the bundle with its placeholders replaced, or a page that says how to build it."""
    headers = {"content-security-policy": policy, "cache-control": "no-cache"}
    file = bundle.get(name)
    unbuilt = f"<!doctype html><title>Soloist</title><p>{html.escape(_UNBUILT)}</p>"
    text = file.body.decode() if file else unbuilt
    for place, value in {"{{version}}": bundle.version, **values}.items():
        text = text.replace(place, value)
    return HTMLResponse(text, headers=headers)


def _policy(settings: Settings) -> str:
    """Return the playground's policy, which allows sounds and the URL of sessions too."""
    url = urlsplit(settings.playground_token_url or "")
    token_origin = f" {url.scheme}://{url.netloc}" if url.netloc else ""
    return _POLICY.format(media="media-src blob:; ", sources=f" blob:{token_origin}")
