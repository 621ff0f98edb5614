"""The upstream over aiohttp, without the SDK: the lean way for the many calls, same contract as `sdk.py`."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson
from yarl import URL

from app.core.config import VERSION, Settings
from app.core.logging import note
from app.core.upstream.failures import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
    failure_of,
)
from app.core.upstream.multipart import multipart
from app.core.upstream.port import Query
from app.core.upstream.target import UpstreamTarget

_FIRST_ERROR_STATUS = 400
_READ_BYTES = 64 * 1024


@contextmanager
def translated() -> Iterator[None]:
    """Turn every failure of aiohttp into one of ours."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise upstream_error_of(exc) from exc


def upstream_error_of(exc: Exception) -> UpstreamError:
    """Map one exception of aiohttp: only a failed connection surely started nothing."""
    if isinstance(exc, aiohttp.ConnectionTimeoutError | aiohttp.ClientConnectorError):
        return UpstreamUnreachableError()
    if isinstance(exc, TimeoutError):
        return UpstreamTimeoutError()
    return UpstreamBrokenError()


class DirectStream:
    """An open response body of aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = self._response.content.readany
        with translated():
            while chunk := await read():
                yield chunk

    async def aclose(self) -> None:
        """Close the connection, unless it was read to its end and can serve again."""
        self._response.close()


class DirectUpstream:
    """The `Upstream` port over one aiohttp session."""

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        self._base = target.base_url
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            connect=settings.openai_connect_timeout_seconds,
            sock_connect=settings.openai_connect_timeout_seconds,
            sock_read=settings.openai_timeout_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.upstream_max_connections, keepalive_timeout=30),
            headers={**target.auth_headers, "user-agent": f"soloist/{VERSION}"},
            timeout=self._timeout,
            auto_decompress=True,
            read_bufsize=_READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
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
            async with response:
                return await response.read()

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> DirectStream:
        """See `Upstream.stream`."""
        with translated():
            return DirectStream(await self._send(method, path, body, query, headers))

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
        header, content = multipart(fields, filename, content_type, chunks)
        with translated():
            response = await self._session.post(
                self._url(path, None), data=content, headers={"content-type": header}, allow_redirects=False
            )
            async with response:
                await _raise_for_status(response)
                return await response.read()

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._session.close()

    def _timeout_of(self, seconds: float | None) -> aiohttp.ClientTimeout:
        """Return the default, or one that lets the upstream be silent for as long as the call may take."""
        if seconds is None:
            return self._timeout
        connect = self._timeout.connect
        return aiohttp.ClientTimeout(total=seconds, connect=connect, sock_connect=connect)

    def _url(self, path: str, query: Query | None) -> URL:
        url = URL(self._base + path, encoded=True)
        return url.with_query(query) if query else url

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Query | None,
        headers: Mapping[str, str] | None,
        *,
        timeout: float | None = None,
    ) -> aiohttp.ClientResponse:
        sent = dict(headers or {})
        data = None
        if body is not None:
            data, sent["content-type"] = orjson.dumps(body), "application/json"
        response = await self._session.request(
            method,
            self._url(path, query),
            data=data,
            headers=sent,
            allow_redirects=False,
            timeout=self._timeout_of(timeout),
        )
        await _raise_for_status(response)
        note(upstream_request_id=response.headers.get("x-request-id"))
        return response


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if 200 <= response.status < 300:
        return
    async with response:
        body = await response.read() if response.status >= _FIRST_ERROR_STATUS else b""
    status = response.status if response.status >= _FIRST_ERROR_STATUS else 502
    raise failure_of(status, body, {name.lower(): value for name, value in response.headers.items()})
