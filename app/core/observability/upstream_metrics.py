"""An upstream that counts and traces what is asked of it; the adapters stay clean of both."""

import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from app.core.observability.metrics import Metrics
from app.core.telemetry import Tracing, mark_failed
from app.core.upstream.errors import UpstreamError
from app.core.upstream.port import Query, Upstream, UpstreamStream

T = TypeVar("T")


class MeasuredUpstream:
    """The `Upstream` port around another one. A stream is handed on as it is: nothing is paid for a chunk."""

    def __init__(self, upstream: Upstream, metrics: Metrics, tracing: Tracing) -> None:
        self._upstream = upstream
        self._metrics = metrics
        self._tracing = tracing

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """See `Upstream.request`."""
        call = self._upstream.request(method, path, body=body, query=query, timeout=timeout)
        return await self._measured(method, path, call)

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> UpstreamStream:
        """See `Upstream.stream`."""
        call = self._upstream.stream(method, path, body=body, query=query, headers=headers, timeout=timeout)
        return await self._measured(method, path, call)

    async def upload(
        self,
        path: str,
        *,
        fields: Mapping[str, str],
        filename: str,
        content_type: str,
        chunks: AsyncIterator[bytes],
    ) -> bytes:
        """See `Upstream.upload`."""
        call = self._upstream.upload(
            path, fields=fields, filename=filename, content_type=content_type, chunks=chunks
        )
        return await self._measured("POST", path, call)

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._upstream.aclose()

    async def _measured(self, method: str, path: str, call: Awaitable[T]) -> T:
        template = template_of(path)
        started = time.perf_counter()
        with self._tracing.call(method, template) as span:
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
    """Return a path with its ids taken out: every second segment of OpenAI's paths is one."""
    return "/".join("{id}" if at % 2 == 0 and at else name for at, name in enumerate(path.split("/")))
