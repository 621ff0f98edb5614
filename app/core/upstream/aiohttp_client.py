"""The upstream over one `aiohttp` session: every call has a deadline and every answer a size limit."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Unpack
from urllib.parse import quote, urlencode

import orjson
from yarl import URL

from app.core.config import VERSION, Settings
from app.core.logging import note
from app.core.upstream.answers import Answer
from app.core.upstream.errors import NO_RETRY, UpstreamBrokenError, UpstreamError, UpstreamTimeoutError
from app.core.upstream.multipart import multipart
from app.core.upstream.port import CallOptions, FileForm, Query
from app.core.upstream.refusals import failure_of
from app.core.upstream.session import open_session
from app.core.upstream.target import UpstreamTarget

_MAX_BYTES_AT_ONCE = 1024 * 1024
"""Longest request body that aiohttp takes as bytes without a warning."""

_PACKED = {"accept-encoding": "gzip, deflate"}
# A compressor would hold events back until it has enough of them.
_UNPACKED = {"accept-encoding": "identity"}


class AiohttpUpstream:
    """The `Upstream` port over an `aiohttp.ClientSession`; create it in a running event loop.

    One deadline covers a whole call, even when the upstream sends a byte now and then. A stream has two more
    once it is open: see `Answer.limit`.
    """

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        # aiohttp refuses credentials in a URL together with an authorization header.
        self._base = str(URL(target.base_url).with_user(None))
        self._silence_seconds = settings.openai_timeout_seconds
        self._longest_seconds = max(settings.stream_max_seconds, settings.run_expires_seconds)
        headers = {"user-agent": f"soloist/{VERSION}", **target.auth_headers}
        self._session = open_session(self._base, headers, settings)

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> bytes:
        """Implement `Upstream.request`."""
        async with _deadline(options.get("timeout") or self._silence_seconds):
            answer = await self._open(method, path, _PACKED, options)
            return await answer.whole()

    async def stream(self, method: str, path: str, **options: Unpack[CallOptions]) -> Answer:
        """Implement `Upstream.stream`."""
        async with _deadline(options.get("timeout") or self._silence_seconds):
            answer = await self._open(method, path, _UNPACKED, options)
        answer.limit(self._silence_seconds, options.get("life") or self._longest_seconds)
        return answer

    async def upload(self, path: str, **form: Unpack[FileForm]) -> bytes:
        """Implement `Upstream.upload`."""
        content_type, content = multipart(**form)
        ends_at = asyncio.get_running_loop().time() + self._longest_seconds
        async with _deadline(self._longest_seconds) as limit:
            data = self._in_time(content, limit, ends_at)
            headers = {"content-type": content_type, **_PACKED}
            answer = await self._send("POST", self._url(path, None), headers, data)
            async with asyncio.timeout(self._silence_seconds):
                return await answer.whole()

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    async def _open(self, method: str, path: str, headers: Mapping[str, str], options: CallOptions) -> Answer:
        """Write a request from `options` and send it; `headers` are defaults."""
        url = self._url(path, options.get("query"))
        sent = {**headers, **options.get("headers", {})}
        body = options.get("body")
        if body is None:
            return await self._send(method, url, sent, None)
        return await self._send(method, url, {**sent, "content-type": "application/json"}, orjson.dumps(body))

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | io.BytesIO | AsyncIterator[bytes] | None,
    ) -> Answer:
        """Send a request and return its 2xx answer; raises an `UpstreamError` for every other one."""
        if isinstance(data, bytes) and len(data) > _MAX_BYTES_AT_ONCE:
            data = io.BytesIO(data)
        answer = Answer(
            await self._session.request(
                method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False
            )
        )
        if 200 <= answer.status < 300:
            if request_id := answer.headers.get("x-request-id"):
                note(upstream_request_id=request_id)
            return answer
        async with _deadline(self._silence_seconds):
            found = await answer.start_of_error()
        raise _refusal(method, answer, found, url)

    async def _in_time(
        self, content: AsyncIterator[bytes], limit: asyncio.Timeout, ends_at: float
    ) -> AsyncIterator[bytes]:
        """Yield `content`; `limit` ends if the upstream takes too long over a chunk or after the last one.

        The wait for the client's next chunk does not count: only `ends_at` limits it.
        """
        time = asyncio.get_running_loop().time
        async for chunk in content:
            if chunk:
                limit.reschedule(min(time() + self._silence_seconds, ends_at))
                yield chunk
                limit.reschedule(ends_at)
        limit.reschedule(min(time() + self._silence_seconds, ends_at))

    def _url(self, path: str, query: Query | None) -> str:
        target = f"{path}?{_written(query)}" if query else path
        if not target.isascii() or not target.isprintable() or " " in target or "#" in target:
            raise ValueError("a path must be escaped")
        return self._base + target


def _written(query: Query) -> str:
    lists = {name if isinstance(value, str | int) else f"{name}[]": value for name, value in query.items()}
    return urlencode(lists, doseq=True, quote_via=quote)


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Limit the block to so many seconds; raises `UpstreamTimeoutError`."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as exc:
        raise UpstreamTimeoutError from exc


def _refusal(method: str, answer: Answer, body: bytes, url: str) -> UpstreamError:
    if answer.status < 300:
        return UpstreamBrokenError()
    # Redirects are not followed: credentials go to the configured upstream and nowhere else.
    status, content, asked = (answer.status, body, url) if answer.status >= 400 else (502, b"", "")
    error = failure_of(status, content, answer.headers, asked)
    if method == "POST" and answer.status >= 500 and error.status_code >= 500:
        error.headers = dict(NO_RETRY)  # it may have begun
    return error
