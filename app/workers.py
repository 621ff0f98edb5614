"""Several server processes on one port, under uvicorn's supervisor: `WORKERS` above 1."""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process, resource_tracker
from socket import socket
from typing import cast

import structlog
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import multiprocess

from app.core.config import Settings
from app.core.config_checks import counts_in_memory
from app.server.uvicorn_server import Server, server_config

_log = structlog.get_logger("soloist")
_ENDS_IN_ORDER = {0, -signal.SIGTERM, STARTUP_FAILURE}
"""The last of them is the supervisor's to report."""
_NOT_BUILT = 2
"""The status of a worker that has no app; with `STARTUP_FAILURE` it would end the others too."""
_REBUILD_PAUSE_SECONDS = 3.0


class _Supervisor(multiprocess.Multiprocess):
    """uvicorn's, but a terminal that closes ends it, as it ends a single process."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        on_hangup = signal.getsignal(signal.SIGHUP)
        super().__init__(config, sockets)
        # `nohup` wants it to stay.
        if on_hangup is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    handle_hup = multiprocess.Multiprocess.handle_term


class _Worker(multiprocess.Process):
    """A process that builds an app of its own and serves it with our `Server`."""

    def start(self) -> None:
        """Start the process with SIGINT and SIGHUP held back: they are meant for the supervisor."""
        # Started here, since it would let SIGINT through again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve, in the new process, until a signal comes or the parent is gone."""
        threading.Thread(target=_end_with_parent, daemon=True).start()
        # uvicorn listens to it from the start of serving on: a second one cuts open streams.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            self.config.app = cast("Callable[[], FastAPI]", self.config.app)()
        except (ValueError, OSError) as exc:
            _log.error("worker_not_built", error=str(exc))
            self._pause()
            # At once: a ping that reached a process on its way out would be waited for.
            os._exit(_NOT_BUILT)
        self._server = Server(self.config)
        super().target(sockets)

    def join(self) -> None:
        """Wait, in the parent, for the process's end; what it told of its state goes with it."""
        super().join()
        mark_process_dead(self.pid)  # type: ignore[no-untyped-call]  # has no annotations
        if self.exitcode not in _ENDS_IN_ORDER:
            _log.warning("worker_died", worker=self.pid, status=self.exitcode)

    def _pause(self) -> None:
        """Put the next try off, and answer the supervisor meanwhile, which waits for it."""
        until = time.monotonic() + _REBUILD_PAUSE_SECONDS
        while time.monotonic() < until:
            self.pong()


def serve_workers(build: Callable[[Settings], FastAPI], settings: Settings) -> int:
    """Serve with `settings.workers` processes until a signal comes; returns the exit status.

    `build` makes the app of a worker, in that worker, and has to be a module's function.
    """
    multiprocess.Process = _Worker  # type: ignore[misc]  # the supervisor takes no other way to name it
    if counts_in_memory(settings):
        _log.warning("limits_per_worker", effect="set RATE_LIMIT_STORAGE=redis://… to count over all workers")
    config = server_config(partial(_build, build, settings), settings)
    try:
        folder = tempfile.TemporaryDirectory(prefix="soloist-metrics-")
    except OSError:
        sys.stderr.write("WORKERS above 1 needs a temporary directory for metrics: name one with TMPDIR\n")
        return 2
    with folder:
        # The name that prometheus_client reads in the workers.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
        supervisor = _Supervisor(config, [config.bind_socket()])
        supervisor.run()
    has_failed = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return STARTUP_FAILURE if has_failed else 0


def _build(build: Callable[[Settings], FastAPI], settings: Settings) -> FastAPI:
    app = build(settings)
    app.state.grace_seconds = settings.shutdown_grace_seconds
    return app


def _end_with_parent() -> None:
    """Ask this process to end once its parent is gone, or it would keep the port from a new one."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
