"""The upstream through the official SDK, which writes the requests; our aiohttp session sends them.

The only module that imports `openai`. Bodies stay bytes: building the SDK's typed objects is most of what a
call through it costs, and nothing here needs them. The SDK's retries are off, since it sends no idempotency
key and a repeated POST could run a turn twice; `retries.py` repeats reads.
"""

from collections.abc import Awaitable, Callable, Mapping

import httpx2
import openai
from openai import AsyncOpenAI, RequestOptions

from app.core.config import Settings
from app.core.upstream.aiohttp_client import AiohttpUpstream
from app.core.upstream.answers import Answer
from app.core.upstream.errors import UpstreamBrokenError, UpstreamError
from app.core.upstream.port import CallOptions
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
        """Close the SDK's client, then the session."""
        await self._client.close()
        await super().aclose()

    async def _open(self, method: str, path: str, headers: Mapping[str, str], options: CallOptions) -> Answer:
        query, body = options.get("query") or {}, options.get("body")
        self._url(path, query)
        written: RequestOptions = {
            "params": dict(query),
            "headers": {**headers, **options.get("headers", {})},
        }
        try:
            if method == "GET":
                response = await self._client.get(path, cast_to=httpx2.Response, options=written)
            else:
                call = self._client.delete if method == "DELETE" else self._client.post
                response = await call(path, cast_to=httpx2.Response, body=body, options=written)
        except openai.OpenAIError as exc:
            # The SDK wraps whatever its transport raises.
            cause = exc.__cause__
            raise cause if isinstance(cause, UpstreamError) else UpstreamBrokenError() from exc
        answer: Answer = response.extensions[_ANSWER]
        return answer


class _Transport(httpx2.AsyncBaseTransport):
    """Sends the requests that the SDK writes over the session of `AiohttpUpstream`."""

    def __init__(self, send: Callable[..., Awaitable[Answer]]) -> None:
        self._send = send

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return a response that carries the unread answer: the SDK would read it without a size limit."""
        answer = await self._send(request.method, str(request.url), request.headers, request.content or None)
        return httpx2.Response(answer.status, extensions={_ANSWER: answer})
