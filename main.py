"""The composition root: `create_app(settings)` builds the service, `python main.py` serves it.

Other commands, each a file in app/server/commands: `python main.py --help`.
"""

import signal

if __name__ == "__main__":
    # Ctrl+C while the modules load ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import FastAPI

from app.api import (
    assistants,
    chat,
    feedback,
    files,
    guide_page,
    health,
    messages,
    pages,
    runs,
    sessions,
    threads,
    usage,
    users,
    vector_stores,
)
from app.api.errors import add_exception_handlers
from app.api.middleware.access import API_PREFIX, AccessMiddleware, HostMiddleware
from app.api.middleware.cors import SdkCorsMiddleware
from app.api.middleware.request import RequestMiddleware
from app.api.openapi import TAGS, describe_access, operation_id
from app.core.config import VERSION, Settings
from app.core.logging import configure_logging
from app.core.observability.metrics import Metrics
from app.core.telemetry import fastapi_telemetry
from app.server.commands import check, embedded, knowledge, local, openapi, report, serve, tools
from app.server.lifespan import lifespan_of

_INTERRUPTED = 130  # what shells report for a program that Ctrl+C ended
# Hot routes come first, because a request is compared with one route after the other.
_ROUTERS = (
    chat.form_router,
    chat.router,
    runs.router,
    threads.transcripts_router,
    threads.router,
    messages.router,
    health.router,
    assistants.router,
    files.router,
    vector_stores.router,
    sessions.router,
    feedback.router,
    users.router,
    usage.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Raises `pydantic.ValidationError` or `ValueError` for settings that cannot work."""
    settings = settings or Settings()
    configure_logging(settings)
    metrics = Metrics()
    app = FastAPI(
        title="Soloist",
        version=VERSION,
        summary="One fixed assistant behind one small API, with the Assistants contract kept alive.",
        docs_url=None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        redoc_url=None,
        openapi_tags=TAGS,
        servers=[{"url": settings.path_prefix}] if settings.path_prefix else None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        lifespan=lifespan_of(settings, metrics),
        telemetry=fastapi_telemetry(),
    )
    _add_middleware(app, settings, metrics)
    add_exception_handlers(app)
    _include_routers(app, settings)
    describe_access(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Add the middleware, innermost first; CORS wraps access, so that pages can read a refusal."""
    app.add_middleware(AccessMiddleware, trusted_proxies=settings.trusted_proxies)
    if settings.cors_origins:
        app.add_middleware(SdkCorsMiddleware, origins=settings.cors_origins)
    # A page can point a name of its own at this machine: where nobody signs in, only local names are served.
    is_local = settings.auth_mode == "none" and not settings.allow_anonymous
    if settings.trusted_hosts or is_local:
        own = [settings.host, urlsplit(settings.public_url or "").hostname or settings.host]
        hosts = [*settings.trusted_hosts, *(own if is_local else [])]
        app.add_middleware(HostMiddleware, hosts=hosts, serves_loopback=is_local)
    app.add_middleware(RequestMiddleware, metrics=metrics, prefix=settings.path_prefix)


def _include_routers(app: FastAPI, settings: Settings) -> None:
    """Add every route; the body limit belongs to the routers, so that a 413 passes our middleware."""
    for router in _ROUTERS:
        app.include_router(router, prefix=API_PREFIX, max_body_size=settings.body_limit)
    app.include_router(health.root_router)
    if settings.metrics_enabled:
        app.include_router(health.metrics_router)
    app.include_router(pages.build_router(settings))
    app.include_router(usage.page_router)
    if guide_page.has_guide(settings):
        app.include_router(guide_page.build_router())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, `serve` by default, and return the exit status."""
    parser = argparse.ArgumentParser(prog="main.py", description="Serve Soloist, or carry out a command.")
    parser.set_defaults(run=serve.run)
    parser.add_argument(
        "--check", dest="run", action="store_const", const=check.run, help="the same as the command check"
    )
    check.add_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (serve, local, check, openapi, knowledge, tools, report, embedded):
        command.add_to(commands.add_parser)
    given = parser.parse_args(arguments)
    if given.live and given.run is not check.run:
        parser.error("--live goes with --check.")
    status: int = given.run(given, create_app)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
