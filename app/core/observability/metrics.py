"""What the service counts, for Prometheus to read at `/metrics`.

A request costs two updates at its end, a run a handful, and a token none. Gauges are read at each scrape.
Label values come from closed sets or are bounded, because each new value takes memory for good.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.core.config import VERSION
from app.core.observability.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MOST_VALUES = 200
_LAG_SAMPLE_SECONDS = 0.5
_OTHER = "other"
WARN_SHARE = 0.8
"""From this share of a budget on, callers and the operator are warned."""

_TOOL_GAUGES = {
    "busy_threads": "Threads that tools hold; TOOL_THREADS is their number.",
    "hung_calls": "Calls of tools that run on after their time, or after their run.",
}


class StreamCounts(Protocol):
    """The counts that the registry of streams keeps."""

    is_draining: bool

    @property
    def ended(self) -> Mapping[str, int]:
        """Number of ended streams, by reason."""

    @property
    def open_streams(self) -> int:
        """Number of streams and runs being served."""

    @property
    def max_streams(self) -> int:
        """Largest number of streams and runs at a time."""


class ToolCounts(Protocol):
    """The counts that the toolbox keeps."""

    @property
    def busy_threads(self) -> int:
        """Number of threads that a tool holds."""

    @property
    def hung_calls(self) -> int:
        """Number of calls that run on though nobody waits for them."""


class Metrics:
    """The metrics of this process."""

    def __init__(self) -> None:
        # Not the library's global registry: tests build many apps in one process.
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter, histogram = self._counter, self._histogram
        self._requests = counter("requests", "Requests answered.", "method", "route", "status")
        self._request_seconds = histogram(
            "request_seconds", "Time to the last byte of an answer.", "method", "route"
        )
        self._errors = counter("errors", "Requests answered with an error.", "code")
        self._rate_limited = counter("rate_limited", "Requests refused by this service's own limits.")
        self.first_text_seconds = histogram(
            "first_text_seconds", "From a streamed run's start to its first text."
        )
        self.runs_started = counter("runs_started", "Runs and chats begun upstream.")
        self._runs_ended = counter("runs_ended", "Runs seen to end here, each once.", "status")
        self.cancellations = counter("cancellations", "Runs cancelled upstream.")
        self._input = counter("input_tokens", "Tokens read by the model.", "model")
        self._cached = counter("cached_input_tokens", "Input tokens from the upstream's cache.", "model")
        self._output = counter("output_tokens", "Tokens written by the model.", "model")
        self._cost = counter("cost", "Cost of the tokens in the currency of PRICES_FILE.", "model")
        self._upstream_seconds = histogram(
            "upstream_seconds", "Time to the upstream's answer, of a stream to its headers.", "operation"
        )
        self._upstream_errors = counter("upstream_errors", "Upstream calls that failed.", "operation", "code")
        self.lock_wait_seconds = histogram(
            "lock_wait_seconds", "Time spent waiting for a conversation that another call was writing to."
        )
        self._dropped = counter(
            "dropped_items", "Oldest items of threads that a model was not shown, for want of room."
        )
        self._content_checks = counter(
            "content_checks",
            "Texts that moderation or a guard flagged, blocked or changed, or could not check.",
            "stage",
            "outcome",
        )
        self._budget_share = Gauge(
            "soloist_budget_used_ratio",
            "Used share of the budget that the last turn counted for.",
            ("budget",),
            registry=self.registry,
        ).labels("total")
        self._budget_warnings = counter("budget_warnings", "Turns from 80 percent of a budget on.", "budget")
        self._budget_refused = counter("budget_refused", "Turns refused for want of budget.", "budget")
        self._tool_calls = counter("tool_calls", "Calls of the service's own tools.", "tool", "outcome")
        self._tool_seconds = histogram("tool_seconds", "Time to the output of a tool.", "tool")
        self._events = counter("webhook_events", "Events for FEEDBACK_WEBHOOK_URL.", "outcome")
        self.usage_rows_lost = counter(
            "usage_rows_lost", "Responses that the report lacks, as the store was away."
        )
        self._lag = histogram(
            "event_loop_lag_seconds", "How late the event loop runs what is due.", buckets=_LAG_SECONDS
        )
        self._values: dict[str, set[str]] = {}

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def describe(self, *, upstream: str, model: str) -> None:
        """Set `soloist_info`: the version, the upstream's kind and the model."""
        info = Gauge(
            "soloist_info", "What runs here.", ("version", "upstream", "model"), registry=self.registry
        )
        info.labels(VERSION, upstream, model).set(1)

    def watch(self, streams: StreamCounts, health: Health) -> None:
        """Read these objects at each scrape."""
        self.registry.register(_Watched(streams, health))

    def request_ended(self, method: str, route: str, status: int, seconds: float, code: str | None) -> None:
        """Count a request; `route` is the template, `code` that of its error."""
        # Clients may make methods up.
        method = method if method in _METHODS else _OTHER
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)
        if status >= 400 and code is not None:
            self._errors.labels(self._bounded("code", code)).inc()
        # A limit of the upstream is not one of ours.
        if status == 429 and not (code or "").startswith("upstream_"):
            self._rate_limited.inc()

    def run_ended(self, status: str) -> None:
        """Count a run that has ended."""
        self._runs_ended.labels(status).inc()

    def tokens_used(
        self, model: str, *, input_tokens: int, cached_tokens: int, output_tokens: int, cost: float | None
    ) -> None:
        """Count a finished run's tokens, and what they cost where a price is known."""
        model = self._bounded("model", model)
        self._input.labels(model).inc(input_tokens)
        self._cached.labels(model).inc(cached_tokens)
        self._output.labels(model).inc(output_tokens)
        if cost is not None:
            self._cost.labels(model).inc(cost)

    def upstream_answered(self, operation: str, seconds: float) -> None:
        """Record the time to an upstream call's answer or failure."""
        self._upstream_seconds.labels(operation).observe(seconds)

    def upstream_failed(self, operation: str, code: str | None) -> None:
        """Count a failed call."""
        self._upstream_errors.labels(operation, self._bounded("code", code or _OTHER)).inc()

    def items_dropped(self, count: int) -> None:
        """Count items of a thread that the model was not shown."""
        self._dropped.inc(count)

    def content_checked(self, stage: str, outcome: str) -> None:
        """Count a check that found something: `input`, `output` or `guard`, and what became of the text."""
        self._content_checks.labels(stage, outcome).inc()

    def budget_share(self, budget: str, share: float) -> None:
        """Note how much of a budget is used, 1.0 for all; only the total's is shown, users have many."""
        if budget == "total":
            self._budget_share.set(share)
        if share >= WARN_SHARE:
            self._budget_warnings.labels(budget).inc()

    def budget_refused(self, budget: str) -> None:
        """Count a turn for which there is no room in a budget."""
        self._budget_refused.labels(budget).inc()

    def event_ended(self, outcome: str) -> None:
        """Count an event for the webhook: `sent`, or `lost` after the last try."""
        self._events.labels(outcome).inc()

    def tool_ended(self, name: str, outcome: str, seconds: float) -> None:
        """Count a call of a tool; `name` is that of a tool which there is."""
        self._tool_calls.labels(name, outcome).inc()
        self._tool_seconds.labels(name).observe(seconds)

    def watch_tools(self, tools: ToolCounts) -> None:
        """Read these counts at each scrape."""
        for name, documentation in _TOOL_GAUGES.items():
            gauge = Gauge(f"soloist_tool_{name}", documentation, registry=self.registry)
            gauge.set_function(partial(getattr, tools, name))

    async def watch_event_loop(self) -> None:
        """Record how late the event loop runs, twice a second until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_SAMPLE_SECONDS
            await asyncio.sleep(_LAG_SAMPLE_SECONDS)
            self._lag.observe(max(0.0, loop.time() - due))

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"soloist_{name}", documentation, labels, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"soloist_{name}", documentation, labels, buckets=buckets, registry=self.registry)

    def _bounded(self, label: str, value: str) -> str:
        """Return a label value that comes from outside, or `other` once there are 200 different ones."""
        values = self._values.setdefault(label, set())
        if value not in values:
            if len(values) >= _MOST_VALUES:
                return _OTHER
            values.add(value)
        return value


class _Watched:
    """Gauges whose values other objects keep."""

    def __init__(self, streams: StreamCounts, health: Health) -> None:
        self._streams = streams
        self._health = health

    def collect(self) -> Iterable[Metric]:
        """Yield the current values."""
        streams, health = self._streams, self._health
        yield _gauge("open_streams", "Runs and streams being served.", streams.open_streams)
        yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
        yield _gauge("max_streams", "Most of them at a time.", streams.max_streams)
        yield _gauge("draining", "1 while shutting down.", streams.is_draining)
        ended = CounterMetricFamily("soloist_streams_ended", "Streams by how they ended.", labels=["reason"])
        for reason, count in streams.ended.items():
            ended.add_metric([reason], count)
        yield ended
        yield _gauge("upstream_reachable", "1 when the upstream answered last time.", health.is_reachable)
        name = "model_shutdown_timestamp_seconds"
        yield _gauge(name, "When the model is switched off.", health.shutdown_timestamp)


def _gauge(name: str, documentation: str, value: float | None) -> Metric:
    """Return a gauge; it has no sample where the value is not known."""
    family = GaugeMetricFamily(f"soloist_{name}", documentation)
    if value is not None:
        family.add_metric([], float(value))
    return family
