"""OpenTelemetry: FastAPI's own spans of requests, and ours of what is asked of the upstream.

Everything follows the standard `OTEL_*` variables, which the OpenTelemetry SDK reads itself; without an
endpoint in them nothing is created. Spans carry ids, sizes, codes and timings, never content. Names and
attributes are those of the GenAI semantic conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/
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
    """Tell whether the environment names somebody who takes spans."""
    is_off = os.getenv("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_off and any(os.getenv(name) for name in _ENDPOINTS)


def fastapi_telemetry() -> TelemetryConfig:
    """Return what FastAPI shall record: requests, not what fails in them, as messages may quote content."""
    wanted = is_wanted()
    return {
        "auto_configure": wanted,
        "tracing": wanted,
        "metrics": wanted,
        "logs": False,
        "operation_spans": False,
        "exclude": _is_probe,
    }


def add_trace_id(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the current trace into a log line."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


class Tracing:
    """Makes the spans of work of an upstream of this kind at `base_url`, or none where nobody takes them."""

    def __init__(self, kind: str, base_url: str) -> None:
        self._tracer: Tracer | None = trace.get_tracer("soloist", VERSION) if is_wanted() else None
        parts = urlsplit(base_url)
        self._server: dict[str, str | int] = {"server.address": parts.hostname or ""}
        if parts.port is not None:
            self._server["server.port"] = parts.port
        self._provider = _PROVIDERS.get(kind, "openai")
        self.is_on = self._tracer is not None
        """Whether anybody takes spans."""

    def chat(self, params: Json) -> Span | None:
        """Open the span of one response, from its request to its end; the caller ends it."""
        if self._tracer is None:
            return None
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider,
            **self._server,
        }
        for name, attribute in _REQUEST_ATTRIBUTES.items():
            if (value := params.get(name)) is not None:
                attributes[attribute] = value
        return self._tracer.start_span(
            f"chat {params.get('model')}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def call(self, method: str, operation: str) -> AbstractContextManager[Span | None]:
        """Open the span of one HTTP call upstream; `operation` is the path's template."""
        if self._tracer is None:
            return _NO_SPAN
        attributes = {"http.request.method": method, "url.template": operation, **self._server}
        return self._tracer.start_as_current_span(
            f"{method} {operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )


_NO_SPAN: nullcontext[None] = nullcontext()


def inside(span: Span | None) -> AbstractContextManager[Span | None]:
    """Make a span the parent of what happens inside the block; it is not ended."""
    if span is None:
        return _NO_SPAN
    return trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


def mark_failed(span: Span, code: str | None, http_status: int | None = None) -> None:
    """Say that a span's work failed, by code."""
    span.set_attribute("error.type", code or "unknown")
    if http_status is not None:
        span.set_attribute("http.response.status_code", http_status)
    span.set_status(StatusCode.ERROR)


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in _UNTRACED
