"""The upstream through the official SDK: its authentication and its transport, without its models.

The one module that imports `openai`. Bodies travel as bytes: building the SDK's typed objects is most of what
the documented way costs, and a shim has no use for them. Retries are off, since the SDK sends no idempotency
key and a retried POST could run a turn twice; `retries.py` repeats reads.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream
from openai._models import FinalRequestOptions

from app.core.config import Settings
from app.core.logging import note
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
    failure_of,
)
from app.core.upstream.multipart import multipart
from app.core.upstream.port import Query
from app.core.upstream.target import UpstreamTarget


@contextmanager
def translated() -> Iterator[None]:
    """Turn every failure of the SDK and of its transport into one of ours."""
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError) as exc:
        raise upstream_error_of(exc) from exc


def upstream_error_of(exc: Exception) -> UpstreamError:
    """Map one exception of `openai` or `httpx2`; a status error is read for its status and codes only."""
    if isinstance(exc, openai.APIStatusError):
        return failure_of(exc.status_code, _body_of(exc.response), exc.response.headers)
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) else exc
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return UpstreamUnreachableError()
    is_timeout = isinstance(exc, openai.APITimeoutError | httpx2.TimeoutException)
    return UpstreamTimeoutError() if is_timeout else UpstreamBrokenError()


def _body_of(response: httpx2.Response) -> bytes:
    try:
        return response.content
    except httpx2.StreamError:
        return b""


class SdkStream:
    """An open response body behind the SDK."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with translated():
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def aclose(self) -> None:
        """Close the connection; an unread rest is dropped."""
        await self._response.aclose()


class SdkUpstream:
    """The `Upstream` port over `AsyncOpenAI`."""

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        self._timeout = httpx2.Timeout(
            settings.openai_timeout_seconds, connect=settings.openai_connect_timeout_seconds
        )
        limits = httpx2.Limits(
            max_connections=settings.upstream_max_connections, max_keepalive_connections=200
        )
        self._base, self._auth_headers = target.base_url, target.auth_headers
        # A cookie of the upstream would tie all callers together.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._http = httpx2.AsyncClient(
            limits=limits, timeout=self._timeout, follow_redirects=False, cookies=no_cookies
        )
        self._client = AsyncOpenAI(
            base_url=target.base_url,
            api_key=target.api_key,
            default_headers=target.headers,
            organization=settings.openai_organization,
            project=settings.openai_project,
            max_retries=0,
            timeout=self._timeout,
            http_client=self._http,
        )

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
        with translated():
            response = await self._send(method, path, body, query, None, timeout=timeout)
            return await response.aread()

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SdkStream:
        """See `Upstream.stream`."""
        with translated():
            return SdkStream(await self._send(method, path, body, query, headers, timeout=None))

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
        content_type_header, content = multipart(fields, filename, content_type, chunks)
        # Past the SDK, on its transport: the SDK sends no multipart body but one that it builds in memory.
        with translated():
            response = await self._http.post(
                self._base + path,
                content=content,
                headers={**self._auth_headers, "content-type": content_type_header},
            )
        if not response.is_success:
            raise failure_of(response.status_code, response.content, response.headers)
        return response.content

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._client.close()

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Query | None,
        headers: Mapping[str, str] | None,
        *,
        timeout: float | None,
    ) -> httpx2.Response:
        options: dict[str, Any] = {"params": dict(query or {}), "headers": dict(headers or {})}
        if timeout is not None:
            options["timeout"] = httpx2.Timeout(timeout, connect=self._timeout.connect)
        # Asked for a raw response, the SDK returns it as it is, also where a stream was asked for.
        response = await self._client.request(
            httpx2.Response,
            FinalRequestOptions.construct(method=method.lower(), url=path, json_data=body, **options),
            stream=True,
            stream_cls=AsyncStream[Any],
        )
        raw = cast("httpx2.Response", response)
        note(upstream_request_id=raw.headers.get("x-request-id"))
        return raw
