"""Metrics of several workers: `prometheus_client` keeps the counters of all in one directory.

What a worker tells only when it is asked, such as its open streams, it writes there from time to time, so
that a scrape finds it whichever worker answers. Gauges carry the worker's `pid` (`soloist_info` does not);
counters, `process_cpu_seconds_total` among them, add up.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample


class SharedState:
    """One worker's part of what all of them tell; needs `PROMETHEUS_MULTIPROC_DIR`."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counter | Gauge] = {}
        self._counted: dict[tuple[str, tuple[str, ...]], float] = {}

    def publish(self, families: Iterable[Metric]) -> None:
        """Write what this worker knows of itself now."""
        for family in families:
            for sample in family.samples:
                self._write(family, sample)

    def render(self) -> bytes:
        """Return what all workers have written, in Prometheus' text format."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # has no annotations
        return generate_latest(registry)

    def _write(self, family: Metric, sample: Sample) -> None:
        values = tuple(sample.labels.values())
        kind = self._kinds.get(family.name)
        if kind is None:
            kind = self._kinds[family.name] = _kind_of(family, tuple(sample.labels))
        found = kind.labels(*values) if values else kind
        if isinstance(found, Gauge):
            found.set(sample.value)
            return
        key = (family.name, values)
        found.inc(sample.value - self._counted.get(key, 0))
        self._counted[key] = sample.value


def _kind_of(family: Metric, labels: tuple[str, ...]) -> Counter | Gauge:
    if family.type == "counter":
        return Counter(family.name, family.documentation, labels, registry=None)
    return Gauge(family.name, family.documentation, labels, registry=None, multiprocess_mode="liveall")
