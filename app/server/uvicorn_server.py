"""uvicorn as this service runs it: one process, whose open streams finish before it ends."""

import gc
import signal
import sys
from contextlib import suppress
from socket import socket

import structlog
import uvicorn
from fastapi import FastAPI

from app.core.config import Settings

if sys.platform != "win32":
    import resource

_log = structlog.get_logger("soloist")
_INTERRUPTED = 130
"""The exit status that shells give to what Ctrl+C ended."""
_COLLECT_AFTER_OBJECTS = 10_000
"""Young objects that start a collection of cycles; Python's 700 are alive in a few open requests."""
_FILES_A_STREAM = 2
_OTHER_FILES = 1_000


class Server(uvicorn.Server):
    """uvicorn, with streams drained before connections are closed."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(_config(app, settings))
        self._app = app
        self._grace_seconds = settings.shutdown_grace_seconds

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Open everything, then exempt what stays for good from the collector of cycles.

        Looking through all loaded modules took a sixth of the CPU time and stopped every stream for 0.15 s.
        """
        await super().startup(sockets)
        _log.info("listening", url=f"http://{self.config.host}:{self.config.port}")
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Let open streams finish within the grace period, then close."""
        await self._app.state.registry.drain(self._grace_seconds)
        await super().shutdown(sockets)


def serve(app: FastAPI, settings: Settings) -> int:
    """Serve until a signal comes; returns the exit status."""
    raise_file_limit(settings.max_streams)
    server = Server(app, settings)
    # A terminal that closes ends the process in order, unless `nohup` started it.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    try:
        server.run()
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


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


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
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
        # Named, or uvicorn would read WEB_CONCURRENCY.
        workers=1,
        # Longer than proxies keep idle connections (60 s), so that no request crosses a close.
        timeout_keep_alive=75,
        # Answers had their time before, see Server.shutdown: what is left now only has to be flushed.
        timeout_graceful_shutdown=1,
    )
