"""Several server processes on one port, under uvicorn's supervisor: `WORKERS` above 1."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process
from socket import socket
from typing import cast

import structlog
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess

from app.core.config import Settings
from app.core.config_checks import counts_in_memory
from app.server import Server, server_config

_log = structlog.get_logger("soloist")
_ENDS_IN_ORDER = {0, -signal.SIGTERM, STARTUP_FAILURE}
"""The last of them is the supervisor's to report."""


class _Worker(multiprocess.Process):
    """A process that builds an app of its own and serves it with our `Server`."""

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve, in the new process, until a signal comes or the parent is gone."""
        threading.Thread(target=_end_with_parent, daemon=True).start()
        self.config.app = cast("Callable[[], FastAPI]", self.config.app)()
        self._server = Server(self.config)
        super().target(sockets)

    def join(self) -> None:
        """Wait, in the parent, for the process's end; what it told of its state goes with it."""
        super().join()
        mark_process_dead(self.pid)  # type: ignore[no-untyped-call]  # has no annotations
        if self.exitcode not in _ENDS_IN_ORDER:
            _log.warning("worker_died", worker=self.pid, status=self.exitcode)


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
        supervisor = multiprocess.Multiprocess(config, [config.bind_socket()])
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
