"""uvicorn with this service's settings: one process, which lets open streams finish before it ends."""

import asyncio
import gc
import signal
import sys
from contextlib import suppress
from socket import socket

import structlog
import uvicorn
from fastapi import FastAPI

from app.core.config import Settings
from app.core.logging import writes_text
from app.server.banner import banner
from app.server.http_protocol import bounded_protocol
from app.translate.events import Json

if sys.platform != "win32":
    import resource

_log = structlog.get_logger("soloist")
# New objects that start a garbage collection; a few open requests hold more than Python's default of 700.
_COLLECT_AFTER_OBJECTS = 10_000
_FILES_A_STREAM = 2
_OTHER_FILES = 1_000


class Server(uvicorn.Server):
    """Drains streams before it closes connections."""

    def __init__(self, app: FastAPI, settings: Settings, *, asks_upstream: bool = False) -> None:
        super().__init__(_config(app, settings))
        self._asks_upstream = asks_upstream
        self._app = app
        self._settings = settings
        self._check: asyncio.Task[Json] | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, then exempt the loaded modules from garbage collection."""
        await super().startup(sockets)
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        _log.info("listening", url=f"http://{host}:{self.config.port}")
        health = self.lifespan.state["health"]
        if writes_text(self._settings):
            sys.stderr.write(banner(self._settings, health.describe()))
        if self._asks_upstream:
            # Whoever starts the service learns at once why its upstream cannot be used.
            self._check = asyncio.create_task(health.check())
        # Scanning all modules took a sixth of the CPU time and stopped every stream for 0.15 s.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Let open streams finish within the grace period, then shut down."""
        if self._check:
            self._check.cancel()
        await self._app.state.registry.drain(self._settings.shutdown_grace_seconds)
        await super().shutdown(sockets)
        if self.force_exit:
            # After a second Ctrl+C uvicorn leaves the lifespan open; cutting it off would log a traceback.
            await self.lifespan.shutdown()


def serve(app: FastAPI, settings: Settings) -> int:
    """Serve until a signal comes, and return the exit status; Ctrl+C ends in `KeyboardInterrupt`."""
    raise_file_limit(settings.max_streams)
    server = Server(app, settings, asks_upstream=True)
    # A closed terminal shuts the process down in order, unless `nohup` started it.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run()
    return 0


def raise_file_limit(max_streams: int) -> None:
    """Raise the limit on open files to what `max_streams` need; logs a line if the system allows fewer."""
    if sys.platform == "win32":
        return
    wanted = max_streams * _FILES_A_STREAM + _OTHER_FILES
    # Shells pass on a soft limit of 1,024 for old programs; each process may raise it to the hard limit.
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


def _most_unfinished() -> int:
    """Return how many connections may wait for their request, so that files are left for the others."""
    if sys.platform == "win32":
        return _OTHER_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(soft, 65_536) // 4)


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded_protocol(settings.request_timeout_seconds, _most_unfinished()),
        # No route takes a WebSocket; by default uvicorn would with any library that is installed.
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        # app/core/security/credentials.py reads these headers, and trusts only TRUSTED_PROXIES.
        proxy_headers=False,
        lifespan="on",
        # Without it, uvicorn reads WEB_CONCURRENCY.
        workers=1,
        # Longer than proxies keep idle connections (60 s), so that no request crosses a close.
        timeout_keep_alive=75,
        # Server.shutdown has waited for answers before; what is left only has to be flushed.
        timeout_graceful_shutdown=1,
    )
