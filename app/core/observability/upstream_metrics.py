"""Metrics and traces of upstream calls, kept out of the adapters that send them."""

import time
from collections.abc import Awaitable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, TypeVar

from app.core.observability.metrics import Metrics
from app.core.telemetry import Tracing, mark_failed
from app.core.upstream.errors import UpstreamError
from app.core.upstream.port import Upstream, UpstreamStream

T = TypeVar("T")


class MeasuredUpstream:
    """Implements `Upstream` by another one. Streams are returned as they are, so chunks cost nothing."""

    def __init__(self, upstream: Upstream, metrics: Metrics, tracing: Tracing) -> None:
        self._upstream = upstream
        self._metrics = metrics
        self._tracing = tracing

    async def request(self, method: str, path: str, **options: Any) -> bytes:
        """Send one request and measure the time to its whole answer."""
        return await self._measured(method, path, self._upstream.request(method, path, **options))

    async def stream(self, method: str, path: str, **options: Any) -> UpstreamStream:
        """Send one request and measure the time to its answer's headers."""
        return await self._measured(method, path, self._upstream.stream(method, path, **options))

    async def upload(self, path: str, **options: Any) -> bytes:
        """Send one file and measure the time to the answer."""
        return await self._measured("POST", path, self._upstream.upload(path, **options))

    async def aclose(self) -> None:
        """Close the upstream's connections."""
        await self._upstream.aclose()

    async def _measured(self, method: str, path: str, call: Awaitable[T]) -> T:
        template = template_of(path)
        started = time.perf_counter()
        tracing = self._tracing.call(method, template) if self._tracing.is_on else nullcontext()
        with tracing as span:
            try:
                return await call
            except UpstreamError as exc:
                self._metrics.upstream_failed(f"{method} {template}", exc.code)
                if span is not None:
                    mark_failed(span, exc.code, exc.upstream_status)
                raise
            finally:
                self._metrics.upstream_answered(f"{method} {template}", time.perf_counter() - started)


@lru_cache(maxsize=64)
def template_of(path: str) -> str:
    """Return a path with `{id}` for every second segment, where OpenAI's paths hold ids."""
    return "/".join("{id}" if at % 2 == 0 and at else name for at, name in enumerate(path.split("/")))
