"""The upstream over one `aiohttp` session, where every call has a deadline and every answer a bound."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from yarl import URL

from app.core.config import VERSION, Settings
from app.core.logging import note
from app.core.upstream.answers import Answer
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    failure_of,
)
from app.core.upstream.multipart import multipart
from app.core.upstream.port import Query
from app.core.upstream.session import open_session
from app.core.upstream.target import UpstreamTarget

_MAX_BYTES_AT_ONCE = 1024 * 1024
"""Longest request body that aiohttp takes as bytes without a warning."""

_PACKED = {"accept-encoding": "gzip, deflate"}


class AiohttpUpstream:
    """The `Upstream` port over an `aiohttp.ClientSession`; to be made in a running event loop.

    Whatever drips, a call ends in time: only an open stream has more than one deadline, see `Answer.limit`.
    """

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        # aiohttp refuses credentials in a URL beside a header that signs in.
        self._base = str(URL(target.base_url).with_user(None))
        self._silence_seconds = settings.openai_timeout_seconds
        self._longest_seconds = max(settings.stream_max_seconds, settings.run_expires_seconds)
        headers = {"user-agent": f"soloist/{VERSION}", **target.auth_headers}
        self._session = open_session(self._base, headers, settings)

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
        try:
            async with asyncio.timeout(timeout or self._silence_seconds):
                answer = await self._open(method, path, body, query, _PACKED)
                return await answer.whole()
        except TimeoutError as exc:
            raise UpstreamTimeoutError from exc

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """See `Upstream.stream`."""
        # Packed, events would wait for each other.
        sent = {"accept-encoding": "identity", **(headers or {})}
        try:
            async with asyncio.timeout(timeout or self._silence_seconds):
                answer = await self._open(method, path, body, query, sent)
        except TimeoutError as exc:
            raise UpstreamTimeoutError from exc
        answer.limit(self._silence_seconds, self._longest_seconds)
        return answer

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
        sent = {"content-type": content_type_header, **_PACKED}
        ends_at = asyncio.get_running_loop().time() + self._longest_seconds
        try:
            async with asyncio.timeout_at(ends_at) as limit:
                data = self._in_time(content, limit, ends_at)
                answer = await self._send("POST", self._url(path, None), sent, data)
                async with asyncio.timeout(self._silence_seconds):
                    return await answer.whole()
        except TimeoutError as exc:
            raise UpstreamTimeoutError from exc

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._session.close()

    async def _open(
        self, method: str, path: str, body: Any, query: Query | None, headers: Mapping[str, str]
    ) -> Answer:
        url = self._url(path, query)
        if body is None:
            return await self._send(method, url, headers, None)
        return await self._send(
            method, url, {**headers, "content-type": "application/json"}, orjson.dumps(body)
        )

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | io.BytesIO | AsyncIterator[bytes] | None,
    ) -> Answer:
        """Send a request and return its 2xx answer; raises the `UpstreamError` that any other one is."""
        if isinstance(data, bytes) and len(data) > _MAX_BYTES_AT_ONCE:
            data = io.BytesIO(data)
        answer = Answer(
            await self._session.request(
                method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False
            )
        )
        if 200 <= answer.status < 300:
            note(upstream_request_id=answer.headers.get("x-request-id"))
            return answer
        try:
            async with asyncio.timeout(self._silence_seconds):
                found = await answer.start_of_error()
        except TimeoutError as exc:
            raise UpstreamTimeoutError from exc
        raise _refusal(answer, found)

    async def _in_time(
        self, content: AsyncIterator[bytes], limit: asyncio.Timeout, ends_at: float
    ) -> AsyncIterator[bytes]:
        """Give the upstream so long for each chunk, and after the last one; waiting for a chunk is free."""
        time = asyncio.get_running_loop().time
        async for chunk in content:
            if chunk:
                limit.reschedule(min(time() + self._silence_seconds, ends_at))
                yield chunk
                limit.reschedule(ends_at)
        limit.reschedule(min(time() + self._silence_seconds, ends_at))

    def _url(self, path: str, query: Query | None) -> str:
        target = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        if not target.isascii() or not target.isprintable() or " " in target or "#" in target:
            raise ValueError("a path must be escaped")
        return self._base + target


def _refusal(answer: Answer, body: bytes) -> UpstreamError:
    if answer.status >= 400:
        return failure_of(answer.status, body, answer.headers)
    # Redirects are not followed: a request goes to the upstream that is set and to no other.
    return failure_of(502, b"", answer.headers) if answer.status >= 300 else UpstreamBrokenError()
