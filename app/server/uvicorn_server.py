"""uvicorn as this service runs it."""

import gc
import sys
from collections.abc import Callable
from contextlib import suppress

import structlog
import uvicorn
from fastapi import FastAPI

from app.core.config import Settings

if sys.platform != "win32":
    import resource

_log = structlog.get_logger("soloist")
_COLLECT_AFTER_OBJECTS = 10_000
"""Young objects that start a collection of cycles; Python's 700 are alive in a few open requests."""
_WORKER_PATIENCE_SECONDS = 30
"""Silence after which the supervisor replaces a worker; many that start at once share the cores."""
_FILES_A_STREAM = 2
_OTHER_FILES = 1_000


class Server(uvicorn.Server):
    """uvicorn, with streams drained before connections are closed."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # same meaning
        """Open everything, then spare the collector of cycles what stays for good.

        Looking through all loaded modules took a sixth of the CPU time and stopped every stream for 0.15 s.
        """
        await super().startup(sockets)  # type: ignore[arg-type]  # passed on as it came
        if self.started:
            _log.info("listening", url=f"http://{self.config.host}:{self.config.port}")
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # same meaning
        """Let open streams finish within the grace period, then close."""
        app = self.config.app
        if isinstance(app, FastAPI) and hasattr(app.state, "registry"):
            await app.state.registry.drain(app.state.grace_seconds)
        await super().shutdown(sockets)  # type: ignore[arg-type]  # passed on as it came


def raise_file_limit(max_streams: int) -> None:
    """Take as many open files as so many streams need, and say so where the system allows fewer.

    Shells hand on a limit of 1,024 for the sake of old programs, and a higher one that a process may take.
    """
    if sys.platform == "win32":
        return
    wanted = max_streams * _FILES_A_STREAM + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft < wanted:
        fitting = max(0, soft - _OTHER_FILES) // _FILES_A_STREAM
        _log.info("few_file_descriptors", allowed=soft, streams=fitting, remedy="raise ulimit -n")


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until a signal comes."""
    app.state.grace_seconds = settings.shutdown_grace_seconds
    Server(server_config(app, settings)).run()


def server_config(app: FastAPI | Callable[[], FastAPI], settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves an app, or that which each worker makes of it."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        # No route takes one; without this line a library that happens to be installed would.
        ws="none",
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
        workers=settings.workers,
        timeout_worker_healthcheck=_WORKER_PATIENCE_SECONDS,
    )
