"""Metrics and traces of upstream calls, kept out of the adapters."""

import time
from collections.abc import Awaitable
from contextlib import nullcontext
from functools import lru_cache
from typing import TypeVar, Unpack

from app.core.observability.metrics import Metrics
from app.core.telemetry import Tracing, mark_failed
from app.core.upstream.errors import UpstreamError
from app.core.upstream.port import CallOptions, FileForm, Upstream, UpstreamStream

T = TypeVar("T")


class MeasuredUpstream:
    """Wraps an `Upstream` and counts its calls. Streams pass unwrapped, so a chunk costs nothing more."""

    def __init__(self, upstream: Upstream, metrics: Metrics, tracing: Tracing) -> None:
        self._upstream = upstream
        self._metrics = metrics
        self._tracing = tracing

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> bytes:
        """Count an `Upstream.request`."""
        return await self._measured(method, path, self._upstream.request(method, path, **options))

    async def stream(self, method: str, path: str, **options: Unpack[CallOptions]) -> UpstreamStream:
        """Count the opening of an `Upstream.stream`."""
        return await self._measured(method, path, self._upstream.stream(method, path, **options))

    async def upload(self, path: str, **form: Unpack[FileForm]) -> bytes:
        """Count an `Upstream.upload`."""
        return await self._measured("POST", path, self._upstream.upload(path, **form))

    async def aclose(self) -> None:
        """Close the wrapped upstream."""
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
    """Return a path with its ids replaced by `{id}`: in OpenAI's paths every second segment is one."""
    return "/".join("{id}" if at % 2 == 0 and at else name for at, name in enumerate(path.split("/")))
