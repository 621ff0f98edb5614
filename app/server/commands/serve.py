"""`python main.py`, or `python main.py serve`: serve until a signal comes."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI

from app.core.config import Settings
from app.server.address import check_address
from app.server.hints import hints_of
from app.server.startup import ProcessCount, check_database, check_store, check_usable, settings_errors_told
from app.server.uvicorn_server import serve

_log = structlog.get_logger("soloist")


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    add_parser("serve", help="serve until a signal comes; the same as no command").set_defaults(run=run)


def run(_given: Namespace, create_app: Callable[[Settings], FastAPI]) -> int:
    """Serve, and return the exit status."""
    return start(create_app)


def start(create_app: Callable[[Settings], FastAPI], **changes: Any) -> int:
    """Serve with the settings, `changes` before those of the environment, and return the exit status."""
    with settings_errors_told():
        ProcessCount()
        settings = Settings(**changes)
        check_usable(settings, check_database, check_store, check_address)
        app = create_app(settings)
        for hint in hints_of(settings):
            _log.warning("setting_hint", hint=hint)
    return serve(app, settings)
