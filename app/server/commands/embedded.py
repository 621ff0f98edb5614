"""`python main.py embedded`: serve the upstream that answers without a key, alone."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from app.embedded import cli


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command and the options of the embedded upstream to a parser's commands."""
    parser = add_parser("embedded", help="serve the upstream that answers without a key, alone")
    cli.add_options(parser)
    parser.set_defaults(run=run)


def run(given: Namespace, _create_app: Callable[..., Any]) -> int:
    """Serve until a signal comes; a start that fails exits with 1."""
    cli.serve(given)
    return 0
