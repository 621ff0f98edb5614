"""Logs: structlog, JSON lines unless a terminal reads them, never any content.

The request's fields are bound once by the middleware; events name what happened, in snake case.
"""

import json
import logging
import logging.handlers
import sys
import time
from collections.abc import MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson
import structlog

from app.core.config import Settings
from app.core.telemetry import add_trace_id, is_wanted

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_BACKUPS = 5
_OWN_LOGGERS = ("app", "soloist", "access")

REQUEST_LOG: ContextVar[dict[str, Any] | None] = ContextVar("request_log", default=None)
"""The fields of the running request's access line; None outside of requests."""

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The running request's id, which every line written meanwhile carries."""


def note(**fields: Any) -> None:
    """Add fields to the running request's access line."""
    log = REQUEST_LOG.get()
    if log is not None:
        log.update(fields)


def configure_logging(settings: Settings) -> None:
    """Set up structlog and, behind it, one handler for the console and one for `LOG_FILE`."""
    level = logging.DEBUG if settings.debug else _LEVELS[settings.log_level]
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if getattr(handler, "is_soloist", False):
            root.removeHandler(handler)
            handler.close()
    for handler in _handlers(settings, is_console=is_console):
        root.addHandler(handler)
    # Libraries log addresses, bodies and database rows at lower levels, so only our own loggers have them.
    root.setLevel(max(level, logging.WARNING))
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[
            *([add_trace_id] if is_wanted() else []),
            _finished,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )


_BLANK_RECORD = logging.makeLogRecord({}).__dict__
"""Making a record asks for thread, process and place in the code, which no line of ours shows."""


class _Lines:
    """Takes our events to the handlers past the standard library's loggers, which look up each caller."""

    def __init__(self, *_name: str) -> None:
        self._handlers = logging.getLogger().handlers

    def info(self, fields: MutableMapping[str, Any]) -> None:
        """Write one event; its level was weighed before."""
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ |= _BLANK_RECORD
        record.created, record.msg, record.fields = time.time(), fields.get("event"), fields
        record.levelname = fields["level"].upper()
        record.levelno = _LEVELS.get(fields["level"], logging.ERROR)
        for handler in self._handlers:
            handler.handle(record)

    debug = warning = error = critical = info


class AccessLog:
    """Writes each request's line as a logger of structlog would, but without a copy of its fields a step.

    Made after `configure_logging`.
    """

    def __init__(self) -> None:
        config = structlog.get_config()
        # The last one is `_finished`, which makes a call of the event.
        *self._processors, _ = config["processors"]
        self._lines: _Lines = config["logger_factory"]()
        self._is_wanted: bool = structlog.get_logger().is_enabled_for(logging.INFO)

    def write(self, event: MutableMapping[str, Any]) -> None:
        """Write an event at level `info`; more is added to its fields."""
        if not self._is_wanted:
            return
        for processor in self._processors:
            event = processor(None, "info", event)
        _finish(event, "info")
        self._lines.info(event)


def _finished(
    _logger: Any, level: str, event: MutableMapping[str, Any]
) -> tuple[tuple[MutableMapping[str, Any]], dict[str, Any]]:
    _finish(event, level)
    return (event,), {}


def _finish(event: MutableMapping[str, Any], level: str) -> None:
    """Add what every line says, in one step: each processor is paid for by every request."""
    if (request_id := REQUEST_ID.get()) is not None:
        event["request_id"] = request_id
    event["level"] = level
    now = time.time()
    event["timestamp"] = f"{_second(int(now))}.{int(now % 1 * 1_000_000):06d}Z"


@lru_cache(maxsize=1)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


def _handlers(settings: Settings, *, is_console: bool) -> list[logging.Handler]:
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_ConsoleFormatter() if is_console else _JsonFormatter())
    handlers: list[logging.Handler] = [stream]
    if settings.log_file:
        settings.log_file.parent.mkdir(parents=True, exist_ok=True)
        rotating = logging.handlers.RotatingFileHandler(
            settings.log_file, maxBytes=settings.log_file_max_bytes, backupCount=_BACKUPS, encoding="utf-8"
        )
        rotating.setFormatter(_JsonFormatter())
        handlers.append(rotating)
    for handler in handlers:
        handler.is_soloist = True  # type: ignore[attr-defined]  # told apart from handlers of a host program or test
    return handlers


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's fields; a library's record has only its text, and its failure by name."""
    fields = getattr(record, "fields", None)
    if isinstance(fields, dict):
        return fields
    plain = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
    if record.exc_info and record.exc_info[0]:
        plain["error"] = record.exc_info[0].__name__
    return plain


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; control characters are escaped, so that no value can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = orjson.dumps(_fields(record), default=str).decode()
        return line if line.isprintable() else "".join(map(_escaped, line))


def _escaped(character: str) -> str:
    """Escape what ends lines or moves cursors and is no ASCII control character, such as U+2028."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


class _ConsoleFormatter(logging.Formatter):
    """Short lines for a person."""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(_fields(record))
        head = f"{fields.pop('level', ''):7} {fields.pop('event', '')}"
        fields.pop("timestamp", None)
        return " ".join([head, *(f"{key}={value!r}" for key, value in fields.items())])
