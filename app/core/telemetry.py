"""OpenTelemetry: FastAPI's spans of requests, and ours of upstream calls.

The OpenTelemetry SDK reads the standard `OTEL_*` variables itself; without an endpoint in them no span is
created. Spans carry ids, sizes, codes and timings, never content. Names and attributes follow the GenAI
semantic conventions: https://github.com/open-telemetry/semantic-conventions-genai
"""

import os
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi.telemetry import TelemetryConfig
from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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


_AGENT = context.create_key("soloist-agent")
_PROPAGATOR = TraceContextTextMapPropagator()


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
    found = trace.get_current_span().get_span_context()
    if found.is_valid:
        event["trace_id"] = trace.format_trace_id(found.trace_id)
        event["span_id"] = trace.format_span_id(found.span_id)
    return event


@dataclass(frozen=True, slots=True)
class TurnSpans:
    """The spans of one response: `chat MODEL`, and round it `invoke_agent NAME`.

    `agent` is None in a later round of a run, whose span somebody else ends. `trace` is the agent's
    `traceparent`.
    """

    agent: Span | None
    chat: Span
    trace: str

    def end(self) -> None:
        """End both."""
        self.chat.end()
        if self.agent is not None:
            self.agent.end()

    def mark_failed(self, code: str | None) -> None:
        """Set the status of both to error, with the code."""
        for span in filter(None, (self.chat, self.agent)):
            mark_failed(span, code)


class Tracing:
    """Opens spans for calls to an upstream of this kind at `base_url`; opens none without an endpoint.

    `agent` is the assistant's name, `agent_id` its id.
    """

    def __init__(self, kind: str, base_url: str, agent: str = "", agent_id: str = "") -> None:
        self._tracer: Tracer | None = trace.get_tracer("soloist", VERSION) if is_wanted() else None
        parts = urlsplit(base_url)
        self._server: dict[str, str | int] = {"server.address": parts.hostname or ""}
        if parts.port is not None:
            self._server["server.port"] = parts.port
        self._provider = _PROVIDERS.get(kind, "openai")
        self._agent = {"gen_ai.agent.name": agent, "gen_ai.agent.id": agent_id}
        self.is_on = self._tracer is not None

    def agent(self, params: Json) -> Span | None:
        """Start the span of a run; the caller ends it with the run."""
        if self._tracer is None:
            return None
        attributes = self._attributes("invoke_agent", params) | self._agent
        if (user := params.get("safety_identifier")) is not None:
            # A hash: Langfuse and Phoenix group by it.
            attributes["user.id"] = user
        return self._tracer.start_span(
            f"invoke_agent {self._agent['gen_ai.agent.name']}", attributes=attributes
        )

    def turn(self, params: Json) -> TurnSpans | None:
        """Start the spans of one response; the caller ends them with the response."""
        if self._tracer is None:
            return None
        outer = context.get_value(_AGENT)
        agent = None if isinstance(outer, Span) else self.agent(params)
        around = outer if isinstance(outer, Span) else agent
        parent = trace.set_span_in_context(around) if around is not None else None
        attributes = self._attributes("chat", params) | self._server
        chat = self._tracer.start_span(
            f"chat {params.get('model')}", context=parent, kind=SpanKind.CLIENT, attributes=attributes
        )
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, parent)
        return TurnSpans(agent, chat, carrier.get("traceparent", ""))

    def evaluated(self, traceparent: str | None, response_id: str, conversation_id: str, value: str) -> None:
        """Record a user's thumb, `up` or `down`, on the trace of the run, or on the request's without one.

        The event is on a span, as what reads traces seldom reads logs.
        """
        if self._tracer is None:
            return
        parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        span = self._tracer.start_span(
            "feedback", context=parent, attributes={"gen_ai.conversation.id": conversation_id}
        )
        event: dict[str, str | float] = {
            "gen_ai.evaluation.name": "user_feedback",
            "gen_ai.evaluation.score.label": value,
            "gen_ai.evaluation.score.value": float(value == "up"),
            "gen_ai.response.id": response_id,
        }
        span.add_event("gen_ai.evaluation.result", event)
        span.end()

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

    def _attributes(self, operation: str, params: Json) -> dict[str, Any]:
        attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": self._provider}
        for name, attribute in _REQUEST_ATTRIBUTES.items():
            if (value := params.get(name)) is not None:
                attributes[attribute] = value
        return attributes


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


@contextmanager
def inside_agent(span: Span | None) -> Iterator[None]:
    """Make a run's span the parent of the spans of its rounds and tools that are opened in the block."""
    if span is None:
        yield
        return
    token = context.attach(context.set_value(_AGENT, span, trace.set_span_in_context(span)))
    try:
        yield
    finally:
        context.detach(token)


def mark_failed(span: Span, code: str | None, http_status: int | None = None) -> None:
    """Set a span's status to error, with the code."""
    span.set_attribute("error.type", code or "unknown")
    if http_status is not None:
        span.set_attribute("http.response.status_code", http_status)
    span.set_status(StatusCode.ERROR)
