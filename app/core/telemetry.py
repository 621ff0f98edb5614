"""OpenTelemetry: FastAPI's spans of requests, and ours of upstream calls.

The OpenTelemetry SDK reads the standard `OTEL_*` variables itself; without an endpoint in them no span is
created. Spans carry ids, sizes, codes and timings, never content. Names and attributes follow the GenAI
semantic conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

import os
from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from app.core.config import VERSION
from app.translate.events import Json

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Probes come every few seconds and would bury other traces.
_UNTRACED = frozenset({"/metrics", "/api/v1/health", "/api/v1/ready"})
_PROVIDERS = {"azure": "azure.ai.openai", "embedded": "soloist"}
_REQUEST_ATTRIBUTES = {
    "model": "gen_ai.request.model",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "conversation": "gen_ai.conversation.id",
}


def is_wanted() -> bool:
    """Return whether the environment names an endpoint for spans."""
    is_off = os.getenv("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_off and any(os.getenv(name) for name in _ENDPOINTS)


def fastapi_telemetry() -> TelemetryConfig:
    """Return FastAPI's configuration: record requests, but no logs, whose messages may quote content."""
    wanted = is_wanted()
    return {
        "auto_configure": wanted,
        "tracing": wanted,
        "metrics": wanted,
        "logs": False,
        "operation_spans": False,
        "exclude": lambda scope: scope.get("path") in _UNTRACED,
    }


def add_trace_id(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the current trace's ids to a log line; a structlog processor."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


class Tracing:
    """Opens spans for calls to an upstream of this kind at `base_url`; opens none without an endpoint."""

    def __init__(self, kind: str, base_url: str) -> None:
        self._tracer: Tracer | None = trace.get_tracer("soloist", VERSION) if is_wanted() else None
        parts = urlsplit(base_url)
        self._server: dict[str, str | int] = {"server.address": parts.hostname or ""}
        if parts.port is not None:
            self._server["server.port"] = parts.port
        self._provider = _PROVIDERS.get(kind, "openai")
        self.is_on = self._tracer is not None

    def chat(self, params: Json) -> Span | None:
        """Start the span of one response; the caller ends it with the response."""
        if self._tracer is None:
            return None
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": self._provider, **self._server}
        for name, attribute in _REQUEST_ATTRIBUTES.items():
            if (value := params.get(name)) is not None:
                attributes[attribute] = value
        return self._tracer.start_span(
            f"chat {params.get('model')}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def call(self, method: str, operation: str) -> AbstractContextManager[Span | None]:
        """Open the span of one upstream call; `operation` is the path's template."""
        if self._tracer is None:
            return nullcontext()
        attributes = {"http.request.method": method, "url.template": operation, **self._server}
        # Exceptions are not recorded: their messages may quote content.
        return self._tracer.start_as_current_span(
            f"{method} {operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )


class ToolTracing:
    """Opens a span for each call of a tool; none without an endpoint."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = trace.get_tracer("soloist", VERSION) if is_wanted() else None

    def call(self, name: str, call_id: str) -> AbstractContextManager[Span | None]:
        """Open the span of one call."""
        if self._tracer is None:
            return nullcontext()
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.type": "function",
        }
        return self._tracer.start_as_current_span(
            f"execute_tool {name}",
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )


def inside(span: Span) -> AbstractContextManager[Span]:
    """Make a span the parent of spans opened in the block; the block does not end it."""
    return trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


def mark_failed(span: Span, code: str | None, http_status: int | None = None) -> None:
    """Set a span's status to error, with the code."""
    span.set_attribute("error.type", code or "unknown")
    if http_status is not None:
        span.set_attribute("http.response.status_code", http_status)
    span.set_status(StatusCode.ERROR)
