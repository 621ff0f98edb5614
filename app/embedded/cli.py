"""The command line of the embedded upstream."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app.embedded.server import serve_forever
from app.embedded.settings import FAULTS, KINDS, RESPONDERS, UNSUPPORTED, EmbeddedSettings


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m app.embedded", description=__doc__)
    add_options(parser)
    serve(parser.parse_args(arguments))


def serve(options: argparse.Namespace) -> None:
    """Serve until a signal comes; a start that fails prints one line and exits with 1."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    where = f"http://{options.host}:{options.port}/v1"
    sys.stderr.write(f"embedded upstream ({options.responder}) on {where}\n")
    try:
        serve_forever(settings_of(options), options.host, options.port)
    except OSError as exc:
        sys.exit(f"embedded upstream: {exc}")


def settings_of(options: argparse.Namespace) -> EmbeddedSettings:
    """Settings out of parsed options."""
    return EmbeddedSettings(
        db=options.db,
        kind=options.kind,
        unsupported=options.unsupported,
        context_items=options.context_items,
        responder=options.responder,
        model=options.model,
        docs=options.docs,
        first_token_ms=options.first_token_ms,
        token_ms=options.token_ms,
        fault=options.fault,
        fault_rate=options.rate,
        fault_after=options.fault_after,
        seed=options.seed,
        chunk_bytes=options.chunk,
        api_key=options.api_key,
        shutdown_date=options.shutdown_date,
        container_seconds=options.container_seconds,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option that `serve` takes."""
    _add_place(parser)
    _add_kind(parser)
    _add_answers(parser)
    _add_faults(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    default = EmbeddedSettings()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--db", default=default.db, help="SQLite file, or :memory: (default: %(default)s)")
    parser.add_argument("--api-key", metavar="KEY", help="require it as a bearer token")


def _add_kind(parser: argparse.ArgumentParser) -> None:
    default = EmbeddedSettings()
    parser.add_argument("--kind", choices=KINDS, default=default.kind, help="what it keeps")
    parser.add_argument(
        "--unsupported",
        choices=UNSUPPORTED,
        default=default.unsupported,
        help="what kind nothing does with fields it lacks",
    )
    parser.add_argument("--context-items", type=int, metavar="N", help="longest history and input")


def _add_answers(parser: argparse.ArgumentParser) -> None:
    default = EmbeddedSettings()
    parser.add_argument("--responder", choices=RESPONDERS, default=default.responder)
    parser.add_argument("--model", default=default.model, help="model that the scripted responder stands for")
    parser.add_argument("--docs", type=Path, default=default.docs, help="folder with README.md and docs/")
    parser.add_argument("--shutdown-date", metavar="DATE", help="told by /v1/models")
    parser.add_argument("--container-seconds", type=float, default=default.container_seconds, metavar="S")


def _add_faults(parser: argparse.ArgumentParser) -> None:
    default = EmbeddedSettings()
    parser.add_argument("--first-token-ms", type=float, default=0.0, metavar="MS")
    parser.add_argument("--token-ms", type=float, default=0.0, metavar="MS")
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument(
        "--rate", type=float, default=default.fault_rate, help="share of requests with the fault"
    )
    parser.add_argument("--fault-after", type=int, default=default.fault_after, metavar="EVENTS")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--chunk", type=int, metavar="BYTES", help="re-slice streams into writes of this size"
    )
