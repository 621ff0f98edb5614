"""The port that the service speaks to an upstream through; `aiohttp_client.py` and `sdk.py` implement it.

Both sides deal in bytes: adapters know connections, authentication and failures, and nothing of responses or
conversations. Every failure leaves an adapter as one of the `Upstream*` errors of `errors.py`. Bodies come
unpacked; one that ends early, in its length or inside its gzip, raises `UpstreamBrokenError`.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

Query = Mapping[str, str | int]


class UpstreamStream(Protocol):
    """An open upstream response body. Close it in `finally`; closing twice is harmless."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield pieces of the body as they come.

        Raises `UpstreamBrokenError`, and `UpstreamTimeoutError` after `OPENAI_TIMEOUT_SECONDS` of silence or
        at the end of the longest life of a stream or a run.
        """

    async def aclose(self) -> None:
        """Give the connection up: at once if the body has not come to its end."""


class Upstream(Protocol):
    """One upstream with its credentials and connection pool. Sends each request exactly once."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Send one request and return its 2xx answer's body, of 64 MiB at most.

        All of it, from waiting for a connection to the body's end, takes `timeout` seconds at most, or
        `OPENAI_TIMEOUT_SECONDS` by default; then it raises `UpstreamTimeoutError`. A longer body raises
        `UpstreamBrokenError`, a path that is not escaped `ValueError`.
        """

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
        """Send one request and return its 2xx answer once the headers are there.

        They must be there after `timeout` seconds, or after `OPENAI_TIMEOUT_SECONDS` by default.
        """

    async def upload(
        self,
        path: str,
        *,
        fields: Mapping[str, str],
        filename: str,
        content_type: str,
        chunks: AsyncIterator[bytes],
    ) -> bytes:
        """Send one multipart file without holding it in memory.

        `fields` may grow while `chunks` are read; what is new then follows the file. An error that `chunks`
        raises breaks the request off and leaves as `UpstreamBrokenError`. The upstream has
        `OPENAI_TIMEOUT_SECONDS` to take each chunk, and to answer after the last one.
        """

    async def aclose(self) -> None:
        """Close the pool."""
