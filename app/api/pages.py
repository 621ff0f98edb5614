"""The chat app as a page and in frames, the widget, and Swagger UI, built by npm from web/ into web/dist."""

import hashlib
import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from app.api.dependencies import AssistantDep, AuthenticatorDep, ClientDep, HealthDep, SettingsDep
from app.api.middleware.request import EMBED_PATH
from app.api.page_config import page_config, shared_config
from app.api.responses import JsonResponse
from app.core.config import PROJECT_ROOT, Settings
from app.core.errors import NotFoundError
from app.core.security.sessions import Session
from app.core.ui_file import UiFile, load_ui
from app.translate.events import Json

BUNDLE = PROJECT_ROOT / "web" / "dist"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_PACKED = {".woff2"}
"""What gzip would only make larger."""

_UNBUILT = (
    "The chat page is not built yet: start the service with ./run.sh, which builds it, "
    "or run “npm ci && npm run build” in the folder web and start the service again."
)
_DOCS = "docs.html"
_APP = "app.html"
_SESSION_PATH = "/playground/session"
# Scripts, styles and fonts come from this service only; blob: is for pictures that the page has fetched.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:{pictures}; {media}connect-src 'self'{sources}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors {framers}"
)
_DOCS_POLICY = _POLICY.format(pictures="", media="", sources="", framers="'none'")
# A host page that is isolated from other origins (SharedArrayBuffer) frames only what isolates itself too.
_ISOLATED = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "cross-origin",
}
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
    is_packed = path.suffix not in _PACKED and gzipped.is_file()
    return _File(body, gzipped.read_bytes() if is_packed else b"", _TYPES[path.suffix], etag)


def has_playground() -> bool:
    """Return whether the bundle has the chat page."""
    return (BUNDLE / _APP).is_file()


def build_router(settings: Settings) -> APIRouter:
    """Return the routes of `/embed`, `/embed.js` and `/assets`; of `/playground` and `/docs` where enabled.

    Raises `ValueError` for a UI_FILE that cannot be used.
    """
    bundle, ui = Bundle(BUNDLE), load_ui(settings.ui_file)
    router = APIRouter(include_in_schema=False)

    async def read_embed(request: Request) -> Response:
        return _serve(request, bundle.get("embed.js"), "public, max-age=300")

    async def read_asset(request: Request, name: str) -> Response:
        # Names or queries of assets hold a hash of their content, so that they may be kept for good.
        return _serve(request, bundle.get(f"assets/{name}"), "public, max-age=31536000, immutable")

    async def read_playground(
        request: Request, assistant: AssistantDep, health: HealthDep, settings: SettingsDep, client: ClientDep
    ) -> Response:
        token_url = _token_url(settings, _up(request))
        shared = shared_config(settings, assistant, health, client, ui)
        config = page_config(shared, assistant, health, token_url, settings.auth_mode)
        return _app(request, bundle, config, _policy(ui, [], settings.playground_token_url))

    async def read_frame(
        request: Request,
        assistant: AssistantDep,
        health: HealthDep,
        settings: SettingsDep,
        client: ClientDep,
        authenticator: AuthenticatorDep,
    ) -> Response:
        framers = authenticator.sessions.frames.read(request.query_params.get("ticket", ""))
        policy = _policy(ui, ["'self'", *settings.cors_origins, *framers])
        response = _app(request, bundle, shared_config(settings, assistant, health, client, ui), policy)
        response.headers.update(_ISOLATED)
        return response

    async def read_docs(request: Request) -> Response:
        if bundle.get(_DOCS) is None:
            # This page loads Swagger UI from a CDN.
            return get_swagger_ui_html(
                openapi_url=f"{settings.path_prefix}/openapi.json", title="Soloist API"
            )
        values = {"{{title}}": "Soloist", "{{up}}": _up(request)}
        return _filled(bundle, _DOCS, values, _DOCS_POLICY)

    async def mint_session(authenticator: AuthenticatorDep, settings: SettingsDep) -> Response:
        expires_at = int(time.time()) + settings.session_ttl_seconds
        session = Session(key_name=next(iter(settings.api_keys)), user="playground", expires_at=expires_at)
        token = authenticator.sessions.mint(session)
        return JsonResponse({"client_secret": token, "expires_at": expires_at})

    router.add_api_route("/embed.js", read_embed, methods=["GET", "HEAD"])
    router.add_api_route(EMBED_PATH, read_frame, methods=["GET", "HEAD"])
    router.add_api_route("/assets/{name}", read_asset, methods=["GET", "HEAD"])
    if settings.docs_enabled:
        router.add_api_route("/docs", read_docs, methods=["GET", "HEAD"])
    if settings.playground_enabled:
        router.add_api_route("/playground", read_playground, methods=["GET", "HEAD"])
        if settings.playground_sessions and settings.auth_mode != "none":
            router.add_api_route(_SESSION_PATH, mint_session, methods=["POST"])
    return router


def _up(request: Request) -> str:
    """Return what leads from a page to the service's root; links are relative, as no prefix need be set."""
    return "../" if request.scope.get("raw_path", b"").endswith(b"/") else ""


def _token_url(settings: Settings, up: str) -> str | None:
    """Return the URL where the page gets sessions, or None if it needs none or cannot get any."""
    if settings.auth_mode == "none":
        return None
    own = up + _SESSION_PATH[1:] if settings.playground_sessions else None
    return settings.playground_token_url or own


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


def _app(request: Request, bundle: Bundle, config: Json, policy: str) -> Response:
    """Return the chat app's page with its configuration."""
    values = {
        "{{title}}": html.escape(config["ui"]["title"] or config["assistant"]),
        # "<" could end the script element that holds the JSON.
        "{{config}}": orjson.dumps(config).decode().replace("<", "\\u003c"),
        "{{up}}": _up(request),
    }
    return _filled(bundle, _APP, values, policy)


def _filled(bundle: Bundle, name: str, values: Mapping[str, str], policy: str) -> Response:
    """Return a page of the bundle with its placeholders replaced, or a page that says how to build it."""
    headers = {"content-security-policy": policy, "cache-control": "no-cache"}
    file = bundle.get(name)
    unbuilt = f"<!doctype html><title>Soloist</title><p>{html.escape(_UNBUILT)}</p>"
    text = file.body.decode() if file else unbuilt
    for place, value in {"{{version}}": bundle.version, **values}.items():
        text = text.replace(place, value)
    return HTMLResponse(text, headers=headers)


def _policy(ui: UiFile, framers: Sequence[str], token_url: str | None = None) -> str:
    """Return the app's policy, which allows sounds, the operator's pictures and the URL of sessions too.

    `framers` are the sources that may frame the page, none if it is empty.
    """
    url = urlsplit(token_url or "")
    token_origin = f" {url.scheme}://{url.netloc}" if url.netloc else ""
    return _POLICY.format(
        pictures="".join(f" {origin}" for origin in ui.picture_origins),
        media="media-src blob:; ",
        sources=f" blob:{token_origin}",
        framers=" ".join(dict.fromkeys(framers)) or "'none'",
    )
