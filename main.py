"""The composition root: `create_app(settings)` builds the service, `python main.py` serves it."""

import argparse
import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app.api import (
    assistants,
    chat,
    chat_uploads,
    files,
    health,
    messages,
    pages,
    runs,
    sessions,
    threads,
    transcripts,
    vector_stores,
)
from app.api.dependencies import State
from app.api.description import TAGS, operation_id
from app.api.errors import add_exception_handlers
from app.api.metrics import metrics_router
from app.api.openapi import describe_access
from app.api.stream_registry import StreamRegistry
from app.core.assistant import load_assistant
from app.core.config import VERSION, Settings
from app.core.lifespan import model_name, open_upstream, opened_redis, opened_target, stop_task
from app.core.limits.idempotency import Idempotency
from app.core.limits.rate_limit import RateLimits
from app.core.logging import configure_logging
from app.core.middleware import RequestMiddleware
from app.core.observability.check import Finding, check_service
from app.core.observability.health import Health
from app.core.observability.metrics import Metrics
from app.core.observability.model_watch import ModelWatch
from app.core.observability.prices import load_prices
from app.core.observability.telemetry import Tracing, fastapi_telemetry
from app.core.openai_client import OpenAIClient
from app.core.runs.meter import RunMeters
from app.core.security.authenticator import Authenticator, warn_of_open_doors
from app.core.security.cors import SdkCorsMiddleware
from app.core.security.gate import AccessMiddleware, HostMiddleware
from app.core.upstream.measured import MeasuredUpstream

# The form of /chat goes first: it takes multipart bodies only and leaves the rest to the route behind it.
# What is called often comes first: a request is compared with one route after the other.
_ROUTERS = (
    chat_uploads,
    chat,
    runs,
    transcripts,
    threads,
    messages,
    health,
    assistants,
    files,
    vector_stores,
    sessions,
)
_log = structlog.get_logger("soloist")
_COLLECT_AFTER_OBJECTS = 10_000
"""Young objects that start a collection of cycles; Python's 700 are alive in a few open requests."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Raises `pydantic.ValidationError` or `ValueError` for settings that cannot work."""
    settings = settings or Settings()
    configure_logging(settings)
    metrics = Metrics()
    app = FastAPI(
        title="Soloist",
        version=VERSION,
        summary="One fixed assistant behind one small API, with the Assistants contract kept alive.",
        docs_url="/docs" if settings.docs_enabled else None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        redoc_url=None,
        openapi_tags=TAGS,
        generate_unique_id_function=operation_id,
        lifespan=_lifespan(settings, metrics),
        telemetry=fastapi_telemetry(),
    )
    _add_middleware(app, settings, metrics)
    add_exception_handlers(app)
    _include_routers(app, settings, metrics)
    describe_access(app)
    return app


def _lifespan(
    settings: Settings, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    assistant, prices = load_assistant(settings), load_prices(settings.prices_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(opened_target(settings))
            tracing = Tracing(target)
            upstream = MeasuredUpstream(open_upstream(target, settings), metrics, tracing)
            lifetime = settings.run_expires_seconds
            meters = RunMeters(metrics, tracing, prices, lifetime_seconds=lifetime)
            client = OpenAIClient(upstream, assistant, settings, meters)
            registry = StreamRegistry(
                max_streams=settings.max_streams,
                max_per_holder=settings.max_streams_per_owner,
                keepalive_seconds=settings.sse_keepalive_seconds,
                slow_reader_seconds=settings.slow_reader_seconds,
                max_seconds=settings.stream_max_seconds,
            )
            grace = settings.shutdown_grace_seconds
            stack.push_async_callback(lambda: client.aclose(registry.grace_left(grace)))
            stack.push_async_callback(stop_task, asyncio.create_task(registry.run()))
            app.state.registry = registry
            authenticator = Authenticator(settings)
            stack.push_async_callback(authenticator.aclose)
            redis = await stack.enter_async_context(opened_redis(settings))
            responder = settings.embedded_responder if target.kind == "embedded" else None
            model = ModelWatch(
                model_name(settings, assistant.model), warn_days=settings.model_shutdown_warn_days
            )
            found = Health(upstream, target, model, responder, redis)
            metrics.describe(upstream=target.kind, model=model.model)
            metrics.watch(registry, found)
            for watch in (metrics.watch_event_loop(), found.watch()):
                stack.push_async_callback(stop_task, asyncio.create_task(watch))
            warn_of_open_doors(settings)
            _log.info("started", version=VERSION, upstream=found.describe(), assistant=assistant.id)
            yield State(
                settings=settings,
                assistant=assistant,
                client=client,
                registry=registry,
                health=found,
                authenticator=authenticator,
                rate_limits=RateLimits(settings, redis),
                idempotency=Idempotency(settings, redis),
            )

    return lifespan


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Add the middleware, innermost first: browsers must be able to read why they were not let in."""
    app.add_middleware(AccessMiddleware, trusted_proxies=settings.trusted_proxies)
    if settings.cors_origins:
        app.add_middleware(SdkCorsMiddleware, origins=settings.cors_origins)
    if settings.trusted_hosts:
        app.add_middleware(HostMiddleware, hosts=settings.trusted_hosts)
    app.add_middleware(RequestMiddleware, metrics=metrics)


def _include_routers(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Add every route; the body limit is set here, inside our middleware, so that 413 keeps the envelope."""
    for module in _ROUTERS:
        app.include_router(module.router, prefix="/api/v1", max_body_size=settings.max_body_bytes)
    app.include_router(health.root_router)
    if settings.metrics_enabled:
        app.include_router(metrics_router(metrics, settings))
    app.include_router(pages.build_router(settings))


class Server(uvicorn.Server):
    """uvicorn, with streams drained before connections are closed."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # same meaning
        """Open everything, then spare the collector of cycles what stays for good.

        Looking through all loaded modules took a sixth of the CPU time and stopped every stream for 0.15 s.
        """
        await super().startup(sockets)  # type: ignore[arg-type]  # passed on as it came
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # same meaning
        """Let open streams finish within the grace period, then close."""
        app = self.config.app
        if isinstance(app, FastAPI) and hasattr(app.state, "registry"):
            await app.state.registry.drain(app.state.grace_seconds)
        await super().shutdown(sockets)  # type: ignore[arg-type]  # passed on as it came


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes, or only check with `--check`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="main.py", description="Serve Soloist.")
    parser.add_argument("--check", action="store_true", help="try settings, upstream and Redis, then exit")
    only_check = parser.parse_args(arguments).check
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
    if only_check:
        return _report(asyncio.run(check_service(settings)))
    app.state.grace_seconds = settings.shutdown_grace_seconds
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        # Addresses in headers are believed from TRUSTED_PROXIES only: app/core/security/credentials.py.
        proxy_headers=False,
        lifespan="on",
        # Longer than proxies keep idle connections (60 s), so that no request crosses a close.
        timeout_keep_alive=75,
        # Answers had their time before, see Server.shutdown: what is left now only has to be flushed.
        timeout_graceful_shutdown=1,
    )
    Server(config).run()
    return 0


def _report(findings: list[Finding]) -> int:
    for finding in findings:
        print(f"{finding.level}: {finding.text}")
    return int(any(finding.level == "error" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
