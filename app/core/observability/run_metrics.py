"""Metrics and traces of runs: counts, tokens, cost, and a span for each."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

from opentelemetry.trace import Span
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.core.observability.metrics import Metrics
from app.core.telemetry import Tracing, TurnSpans, inside
from app.translate.events import Json
from app.translate.moderation import findings
from app.translate.objects import LIVE, run_status
from app.utils.text_files import read_text

if TYPE_CHECKING:
    from app.core.insight.usage_log import UsageLog

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_MILLION = 1_000_000
_MOST_REMEMBERED = 10_000
_FAILED = frozenset({"failed", "expired"})
_NO_TURN = frozenset({404, 409})
"""Statuses of requests that name no thread, or one that is busy."""


class Price(BaseModel):
    """Prices of one model for a million tokens each, in whatever currency the operator counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_per_million: Amount
    output_per_million: Amount
    cached_input_per_million: Amount | None = None  # None: the same as other input
    cache_write_per_million: Amount | None = None  # the same

    def cost(
        self, input_tokens: int, cached_tokens: int, output_tokens: int, written_tokens: int = 0
    ) -> float:
        """Return the price of one answer.

        `cached_tokens` were read from the upstream's cache and `written_tokens` were written to it; both are
        parts of `input_tokens`.
        """
        own = self.input_per_million
        cached = own if self.cached_input_per_million is None else self.cached_input_per_million
        written = own if self.cache_write_per_million is None else self.cache_write_per_million
        fresh = (input_tokens - cached_tokens - written_tokens) * own
        kept = cached_tokens * cached + written_tokens * written
        return (fresh + kept + output_tokens * self.output_per_million) / _MILLION


class Used(NamedTuple):
    """What a response used; `cost` is in the currency of PRICES_FILE, None without a price."""

    model: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


_PRICES = TypeAdapter(dict[str, Price])


def load_prices(path: Path | None) -> Mapping[str, Price]:
    """Read a JSON file of prices by model; without a file there are none.

    Raises `ValueError`, in one line, for a file that is missing or malformed.
    """
    if path is None:
        return {}
    try:
        return _PRICES.validate_json(read_text(path, setting="PRICES_FILE"))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"PRICES_FILE={path}: {place}: {first['msg']}") from exc


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """Return a model's price; a snapshot such as `gpt-6-luna-2026-08-01` has the price of its model."""
    while model:
        if (price := prices.get(model)) is not None:
            return price
        model = model.rpartition("-")[0]
    return None


class RunMetrics:
    """Counts each run that this process sees end.

    A stream and a poller may both see the same end, so the ids of the last 10,000 counted runs are kept.
    A run older than `lifetime_seconds` is not counted: somebody reads an old thread. What is counted also
    goes to `usage`, if the service has a store.
    """

    def __init__(
        self,
        metrics: Metrics,
        tracing: Tracing,
        prices: Mapping[str, Price],
        *,
        lifetime_seconds: float,
        usage: "UsageLog | None" = None,
    ) -> None:
        self.metrics = metrics
        self.prices = prices
        self.usage = usage
        self._tracing = tracing
        self._lifetime_seconds = lifetime_seconds
        self._counted: OrderedDict[str, None] = OrderedDict()

    def begin(self, params: Json) -> "RunMeasurement":
        """Measure a run that is being created with these parameters."""
        spans = self._tracing.turn(params) if self._tracing.is_on else None
        return RunMeasurement(self, spans, params, awaits_text=True)

    def agent(self, params: Json) -> Span | None:
        """Start the span of a run of several rounds, None without tracing; the caller ends it."""
        return self._tracing.agent(params) if self._tracing.is_on else None

    def watch(self) -> "RunMeasurement":
        """Measure a run that was started earlier: only its end is counted."""
        return RunMeasurement(self, None, {}, awaits_text=False)

    def lock_waited(self, seconds: float) -> None:
        """Record the seconds spent waiting for a busy conversation."""
        self.metrics.lock_wait_seconds.observe(seconds)

    def run_cancelled(self) -> None:
        """Count a cancellation sent upstream."""
        self.metrics.cancellations.inc()

    def saw(self, response: Json, measured: "RunMeasurement | None" = None) -> None:
        """Count a response's end and tokens, unless it is live, counted already or too old.

        `measured` is the measurement of a response that was created here.
        """
        response_id, status = str(response.get("id")), response.get("status")
        if status in LIVE or response_id in self._counted:
            return
        if time.time() - float(response.get("created_at") or 0) > self._lifetime_seconds:
            return
        self._counted[response_id] = None
        if len(self._counted) > _MOST_REMEMBERED:
            self._counted.popitem(last=False)
        self.metrics.run_ended(run_status(response))
        if response.get("moderation") or response.get("incomplete_details"):
            for stage, outcome in findings(response):
                self.metrics.content_checked(stage, outcome)
        used = self._used(response)
        if response.get("usage"):
            self.metrics.tokens_used(**used._asdict())
        if self.usage is not None:
            self.usage.ended(response, used, measured)

    def _used(self, response: Json) -> Used:
        usage, model = response.get("usage") or {}, str(response.get("model"))
        read, written = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
        details = usage.get("input_tokens_details") or {}
        cached, stored = int(details.get("cached_tokens") or 0), int(details.get("cache_write_tokens") or 0)
        price = price_of(self.prices, model)
        cost = price.cost(read, cached, written, stored) if price else None
        return Used(model, read, cached, written, cost)


class Reserved(Protocol):
    """Is told once how a run that has room in budgets went on; more calls change nothing."""

    def left(self, response: Json | None) -> None:
        """Handle the last state of a run that was seen here."""

    def failed(self, failure: BaseException) -> None:
        """Handle that the run could not be created."""


class RunMeasurement:
    """Measures one run's stream."""

    __slots__ = (
        "_broken_by",
        "_metrics",
        "_spans",
        "_started",
        "awaits_text",
        "began_at",
        "first_text_ms",
        "params",
        "reservation",
        "trace",
    )

    def __init__(
        self, metrics: RunMetrics, spans: TurnSpans | None, params: Json, *, awaits_text: bool
    ) -> None:
        self.reservation: Reserved | None = None
        self._metrics = metrics
        self._spans = spans
        self._started = time.perf_counter()
        self._broken_by: str | None = None
        self.params = params
        """What the run was created with; empty for one that was started earlier."""
        self.began_at = time.time()
        self.first_text_ms: int | None = None
        self.trace = spans.trace if spans is not None else None
        # The reader of events checks this, so that later events cost nothing.
        self.awaits_text = awaits_text

    def elapsed_ms(self) -> int:
        """Return the time since the beginning."""
        return int((time.perf_counter() - self._started) * 1000)

    def inside(self) -> AbstractContextManager[Span | None]:
        """Make the run's span the parent of what happens inside the block."""
        return nullcontext() if self._spans is None else inside(self._spans.chat)

    def created(self) -> None:
        """Count a run that the upstream accepted."""
        self._metrics.metrics.runs_started.inc()

    def first_text(self) -> None:
        """Record the time to the first text."""
        self.awaits_text = False
        seconds = time.perf_counter() - self._started
        self.first_text_ms = int(seconds * 1000)
        self._metrics.metrics.first_text_seconds.observe(seconds)
        if self._spans is not None:
            self._spans.chat.set_attribute("gen_ai.response.time_to_first_chunk", seconds)

    def broke(self, code: str | None) -> None:
        """Count a stream that broke off before its end."""
        self._broken_by = code
        self._metrics.metrics.upstream_failed("stream", code)

    def cut_off(self, response: Json | None, status: str) -> None:
        """Note a run that ended with this status before the upstream ended its response."""
        if self._metrics.usage is not None:
            self._metrics.usage.cut_off(response, self, status, self._broken_by)

    def failed(self, failure: BaseException) -> None:
        """Close the span of a run that could not be created, and note it unless the request was at fault."""
        if self.reservation is not None:
            self.reservation.failed(failure)
        if getattr(failure, "status_code", None) not in _NO_TURN:
            self._broken_by = getattr(failure, "code", None)
            self.cut_off(None, "failed" if isinstance(failure, Exception) else "cancelled")
        if self._spans is not None:
            self._spans.mark_failed(getattr(failure, "code", None) or type(failure).__name__)
            self._close()

    def left(self, response: Json | None) -> None:
        """Count the run if it has ended, and close its span; called when its stream is closed."""
        if response is not None:
            self._metrics.saw(response, self if self.params else None)
        if self.reservation is not None:
            self.reservation.left(response)
        if self._spans is not None:
            _describe(self._spans, response or {})
            self._close()

    def _close(self) -> None:
        if self._spans is not None:
            self._spans.end()
            self._spans = None


def _describe(spans: TurnSpans, response: Json) -> None:
    if not response:
        spans.mark_failed("no_response")
        return
    status = response.get("status")
    found = {"gen_ai.response.id": response.get("id"), "gen_ai.response.model": response.get("model")}
    if status not in LIVE:
        found["gen_ai.response.finish_reasons"] = [run_status(response)]
        usage = response.get("usage") or {}
        details = usage.get("input_tokens_details") or {}
        found["gen_ai.usage.input_tokens"] = usage.get("input_tokens")
        found["gen_ai.usage.output_tokens"] = usage.get("output_tokens")
        found["gen_ai.usage.cache_read.input_tokens"] = details.get("cached_tokens")
    for name, value in found.items():
        if value is not None:
            spans.chat.set_attribute(name, value)
    if status in _FAILED:
        spans.mark_failed((response.get("error") or {}).get("code") or status)
