"""`python main.py openapi`: print the OpenAPI document, from which clients are generated."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import orjson
from fastapi import FastAPI

from app.core.config import Settings


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    add_parser("openapi", help="print the OpenAPI document as JSON").set_defaults(run=run)


def run(_given: Namespace, create_app: Callable[[Settings], FastAPI]) -> int:
    """Print the document of a service with default settings, and return the exit status."""
    # Neither the environment nor a .env file has a say: the document is the same everywhere.
    sys.stdout.buffer.write(document(create_app(Settings.model_construct())))
    return 0


def document(app: FastAPI) -> bytes:
    """Return an app's document as indented JSON."""
    return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
