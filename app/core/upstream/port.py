"""The port that the service speaks to an upstream through; `sdk.py` and `direct.py` implement it.

Both sides deal in bytes: adapters know connections, authentication and failures, and nothing of responses or
conversations. Every failure leaves an adapter as one of the `Upstream*` errors of `failures.py`.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

Query = Mapping[str, str | int]


class UpstreamStream(Protocol):
    """An open upstream response body. Close it in `finally`; closing twice is harmless."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield network reads as they come; raises `UpstreamBroken` or `UpstreamTimeout`."""

    async def aclose(self) -> None:
        """Give the connection up."""


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
        """Send one request, return its 2xx answer's body; `timeout` in seconds overrides the default."""

    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UpstreamStream:
        """Send one request and return its 2xx answer once the headers are there."""

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
        raises breaks the request off and leaves as `UpstreamBrokenError`.
        """

    async def aclose(self) -> None:
        """Close the pool."""
