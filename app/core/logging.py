"""Logs: structlog writes JSON lines, or text on a terminal, and never any content of requests.

structlog renders our own lines and writes them to standard error, as its documentation recommends for speed:
https://www.structlog.org/en/stable/performance.html. Lines of libraries go through the standard library's
handlers in the same format. With `LOG_FILE` our own lines go there too, as these handlers can rotate a file.
Events are named after what happened, in snake case.
"""

import json
import logging
import logging.handlers
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from app.core.config import Settings
from app.core.telemetry import add_trace_id, is_wanted

HANDLER_NAME = "soloist"  # tells our handlers from those of a host program or a test
_BACKUPS = 5
_OWN_LOGGERS = ("app", "soloist", "access")
# What a terminal leaves out: the files that belong to a page, and what the banner of the start tells.
_PARTS_OF_PAGES = frozenset({"/assets/{name}", "/embed.js", "/favicon.ico"})
_TOLD_BY_BANNER = frozenset({"started", "listening"})
_FIRST_FAILURE = 400

# The fields of the running request's access line; None outside of requests.
REQUEST_LOG: ContextVar[dict[str, Any] | None] = ContextVar("request_log", default=None)
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


def note(**fields: Any) -> None:
    """Add fields to the running request's access line."""
    log = REQUEST_LOG.get()
    if log is not None:
        log.update(fields)


def configure_logging(settings: Settings) -> None:
    """Set up structlog for our own lines and the standard library's handlers for those of libraries.

    Raises `ValueError` for a `LOG_FILE` that cannot be written.
    """
    level = logging.getLevelNamesMapping()[("debug" if settings.debug else settings.log_level).upper()]
    is_console = writes_text(settings)
    render = _as_text if is_console else _as_json
    common: list[Processor] = [
        _add_request_id,
        *([add_trace_id] if is_wanted() else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown = _formatted(logging.StreamHandler(sys.stderr), common, render)
    handlers = [shown]
    if is_console:
        shown.addFilter(lambda record: not (isinstance(record.msg, dict) and _is_left_out(record.msg)))
    if settings.log_file:
        file = _rotating(settings.log_file, settings.log_file_max_bytes)
        handlers.append(_formatted(file, common, _as_json))
    _replace_handlers(handlers)
    # At lower levels libraries log addresses, bodies and database rows, so those are for our own loggers.
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[*common, ProcessorFormatter.wrap_for_formatter if settings.log_file else render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory() if settings.log_file else _StandardError,
        # Tests configure logging again and again; the access logger, which writes often, is bound once.
        cache_logger_on_first_use=False,
    )


def writes_text(settings: Settings) -> bool:
    """Return whether standard error gets text for a person instead of JSON."""
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())


class _StandardError(structlog.WriteLogger):
    """Writes lines to standard error; a full disk or a closed terminal loses lines but fails no request."""

    def __init__(self, *_name: str) -> None:
        super().__init__(sys.stderr)

    def msg(self, message: str) -> None:
        """Write one line."""
        with suppress(OSError):
            super().msg(message)

    debug = info = warning = error = critical = msg


def _add_request_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if (request_id := REQUEST_ID.get()) is not None:
        event["request_id"] = request_id
    return event


def _name_failure(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replace an exception's traceback, which may quote content, by its class."""
    exc_info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if exc_info and exc_info[0]:
        event["error"] = exc_info[0].__name__
    return event


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    """Render one JSON object."""
    try:
        text = orjson.dumps(event, default=str).decode()
    except orjson.JSONEncodeError:
        # Half a surrogate pair, or a huge number: no reason to fail a request.
        text = json.dumps(event, default=str)
    return _on_one_line(text)


def _is_left_out(event: EventDict) -> bool:
    """Return whether a terminal does not show this event."""
    if event.get("event") != "request":
        return event.get("event") in _TOLD_BY_BANNER
    return event.get("route") in _PARTS_OF_PAGES and event["status"] < _FIRST_FAILURE


def _as_text(_logger: Any, _method: str, event: EventDict) -> str:
    """Render a short line for a person."""
    if _is_left_out(event):
        raise structlog.DropEvent
    if event.get("event") == "request":
        return _request_row(event)
    head = f"{event.pop('level', ''):7} {event.pop('event', '')}"
    event.pop("timestamp", None)
    return _on_one_line(" ".join([head, *(f"{key}={value!r}" for key, value in event.items())]))


def _request_row(event: EventDict) -> str:
    """Render a request in one row of the terminal; one that failed also says why, and its id."""
    words = [event["status"], event["method"], event["route"] or "(no such path)", f"{event['ms']:.0f} ms"]
    if event["status"] >= _FIRST_FAILURE:
        words += [event.get("error"), event.get("request_id")]
    row = _on_one_line(" ".join(str(word) for word in words if word is not None))
    columns = shutil.get_terminal_size().columns
    return row if len(row) <= columns else row[: columns - 1] + "…"


def _on_one_line(text: str) -> str:
    """Escape line ends (U+2028 too) and control characters, so that no value can forge a line."""
    if text.isprintable():
        return text
    escaped = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    return escaped.replace("\x7f", "\\u007f")  # DEL, which JSON does not escape


def _formatted(handler: logging.Handler, common: Iterable[Processor], render: Processor) -> logging.Handler:
    """Make a handler render the records of libraries and of structlog in the same format."""
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name, _name_failure],
            processors=[ProcessorFormatter.remove_processors_meta, render],
        )
    )
    return handler


def _rotating(file: Path, max_bytes: int) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(
            file, maxBytes=max_bytes, backupCount=_BACKUPS, encoding="utf-8"
        )
    except OSError as exc:
        raise ValueError(f"LOG_FILE={file} cannot be written: {exc.strerror}") from exc


def _replace_handlers(handlers: Iterable[logging.Handler]) -> None:
    """Replace the handlers of an earlier configuration."""
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == HANDLER_NAME]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.name = HANDLER_NAME
        root.addHandler(handler)
