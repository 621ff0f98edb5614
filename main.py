"""The composition root: `create_app(settings)` builds the service, `python main.py` serves it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import ValidationError

from app.api import assistants, chat, files, health, messages, runs, threads, vector_stores
from app.api.dependencies import State
from app.api.errors import add_exception_handlers
from app.api.streaming import StreamRegistry
from app.core.assistant import load_assistant
from app.core.config import VERSION, Settings
from app.core.health import Health
from app.core.lifespan import model_name, open_upstream, opened_target, stop_task
from app.core.logging import configure_logging
from app.core.middleware import RequestMiddleware
from app.core.openai_client import OpenAIClient

_log = structlog.get_logger("soloist")
_EXPOSED_HEADERS = [
    "x-request-id",
    "openai-poll-after-ms",
    "retry-after",
    "x-ignored-params",
    "x-unanswered-tool-calls",
    "x-vercel-ai-ui-message-stream",
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Raises `pydantic.ValidationError` or `ValueError` for settings that cannot work."""
    settings = settings or Settings()
    configure_logging(settings)
    app = FastAPI(
        title="Soloist",
        version=VERSION,
        summary="One fixed assistant behind one small API, with the Assistants contract kept alive.",
        docs_url="/docs" if settings.docs_enabled else None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        redoc_url=None,
        lifespan=_lifespan(settings),
    )
    _add_middleware(app, settings)
    add_exception_handlers(app)
    _include_routers(app, settings)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    assistant = load_assistant(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(opened_target(settings))
            upstream = open_upstream(target, settings)
            client = OpenAIClient(upstream, assistant, settings)
            stack.push_async_callback(client.aclose, settings.shutdown_grace_seconds)
            registry = StreamRegistry(
                max_streams=settings.max_streams,
                keepalive_seconds=settings.sse_keepalive_seconds,
                slow_reader_seconds=settings.slow_reader_seconds,
                max_seconds=settings.stream_max_seconds,
            )
            stack.push_async_callback(stop_task, asyncio.create_task(registry.run()))
            app.state.registry = registry
            responder = settings.embedded_responder if target.kind == "embedded" else None
            found = Health(upstream, target, model_name(settings, assistant.model), responder)
            _log.info("started", version=VERSION, upstream=found.describe(), assistant=assistant.id)
            yield State(
                settings=settings, assistant=assistant, client=client, registry=registry, health=found
            )

    return lifespan


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED_HEADERS,
            max_age=600,
        )
    app.add_middleware(RequestMiddleware)


def _include_routers(app: FastAPI, settings: Settings) -> None:
    """Add every route; the body limit is set here, inside of our middleware, so that a 413 keeps the envelope."""
    app.include_router(health.root_router)
    for module in (health, chat, runs, threads, messages, assistants, files, vector_stores):
        app.include_router(module.router, prefix="/api/v1", max_body_size=settings.max_body_bytes)


class Server(uvicorn.Server):
    """uvicorn, with streams drained before connections are closed."""

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # same meaning
        """Let open streams finish within the grace period, then close."""
        app = self.config.app
        if isinstance(app, FastAPI) and hasattr(app.state, "registry"):
            await app.state.registry.drain(app.state.grace_seconds)
        await super().shutdown(sockets)  # type: ignore[arg-type]  # passed on as it came


def main() -> int:
    """Serve until a signal comes; returns the exit status."""
    try:
        settings = Settings()
        app = create_app(settings)
    except ValidationError as exc:
        for error in exc.errors():
            name = ".".join(map(str, error["loc"])).upper()
            sys.stderr.write(f"{name + ': ' if name else ''}{error['msg'].removeprefix('Value error, ')}\n")
        return 2
    except ValueError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    app.state.grace_seconds = settings.shutdown_grace_seconds
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
