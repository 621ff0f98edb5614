"""The upstream through the official SDK: it writes the requests, without its models, and aiohttp sends them.

The one module that imports `openai`. Bodies travel as bytes: building the SDK's typed objects is most of what
the documented way costs, and a shim has no use for them. Retries are off, since the SDK sends no idempotency
key and a retried POST could run a turn twice; `retries.py` repeats reads.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI, RequestOptions

from app.core.config import Settings
from app.core.upstream.aiohttp_client import AiohttpUpstream
from app.core.upstream.answers import Answer
from app.core.upstream.errors import UpstreamBrokenError, UpstreamError
from app.core.upstream.port import Query
from app.core.upstream.target import UpstreamTarget

_ANSWER = "soloist_answer"


class SdkUpstream(AiohttpUpstream):
    """The `Upstream` port over `AsyncOpenAI`."""

    def __init__(self, target: UpstreamTarget, settings: Settings) -> None:
        super().__init__(target, settings)
        self._client = AsyncOpenAI(
            base_url=self._base,
            api_key=target.api_key,
            default_headers=target.headers,
            organization=settings.openai_organization,
            project=settings.openai_project,
            max_retries=0,
            timeout=None,
            http_client=httpx2.AsyncClient(transport=_Transport(self._send), trust_env=False),
        )

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        await self._client.close()
        await super().aclose()

    async def _open(
        self, method: str, path: str, body: Any, query: Query | None, headers: Mapping[str, str]
    ) -> Answer:
        self._url(path, query)
        options: RequestOptions = {"params": dict(query or {}), "headers": dict(headers)}
        try:
            if method == "GET":
                response = await self._client.get(path, cast_to=httpx2.Response, options=options)
            else:
                call = self._client.delete if method == "DELETE" else self._client.post
                response = await call(path, cast_to=httpx2.Response, body=body, options=options)
        except openai.OpenAIError as exc:
            # The SDK wraps whatever its transport raises.
            cause = exc.__cause__
            raise cause if isinstance(cause, UpstreamError) else UpstreamBrokenError() from exc
        answer: Answer = response.extensions[_ANSWER]
        return answer


class _Transport(httpx2.AsyncBaseTransport):
    """Sends what the SDK has written over the session of `AiohttpUpstream`."""

    def __init__(self, send: Callable[..., Awaitable[Answer]]) -> None:
        self._send = send

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Hand the answer back unread, past the SDK, which would read and unpack it without a bound."""
        answer = await self._send(request.method, str(request.url), request.headers, request.content or None)
        return httpx2.Response(answer.status, extensions={_ANSWER: answer})
