"""The port to an upstream, which `aiohttp_client.py` and `sdk.py` implement.

Bodies are bytes on both sides: adapters know connections, credentials and failures, but nothing of responses
or conversations. Every failure leaves an adapter as one of the `Upstream*` errors of `errors.py`. Bodies
arrive unpacked; one that ends early, by its length or inside its gzip, raises `UpstreamBrokenError`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

Query = Mapping[str, str | int | Sequence[str]]
"""A list is sent as OpenAI's SDKs do: as a parameter `name[]` for each of its values."""


class CallOptions(TypedDict, total=False):
    """What a call may carry beside its method and path."""

    body: Any
    """Sent as JSON."""
    query: Query | None
    headers: Mapping[str, str]
    timeout: float | None
    """Seconds; `OPENAI_TIMEOUT_SECONDS` by default."""
    life: float | None
    """Seconds that an open stream may last; as long as any stream or run by default."""


class FileForm(TypedDict):
    """A multipart form with one file, read while it is sent."""

    fields: Mapping[str, str]
    """May grow while `chunks` are read: new fields follow the file."""
    filename: str
    content_type: str
    chunks: AsyncIterator[bytes]


class UpstreamStream(Protocol):
    """The body of an open upstream response. Close it in `finally`; closing twice is harmless."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield pieces of the body as they arrive.

        Raises `UpstreamBrokenError`, `UpstreamTimeoutError` after `OPENAI_TIMEOUT_SECONDS` of silence, and
        `UpstreamDeadlineError` at the end of its life.
        """

    async def aclose(self) -> None:
        """Release the connection; one whose body has not ended is closed at once, and its reader is told."""


class Upstream(Protocol):
    """One upstream with its credentials and connection pool. Sends each request exactly once.

    A path that is not escaped raises `ValueError`.
    """

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> bytes:
        """Send a request and return the body of its 2xx answer, at most 64 MiB.

        `timeout` covers everything from the wait for a connection to the end of the body. Raises
        `UpstreamTimeoutError` after it, and `UpstreamBrokenError` for a longer body.
        """

    async def stream(self, method: str, path: str, **options: Unpack[CallOptions]) -> UpstreamStream:
        """Send a request and return its 2xx answer as soon as the headers are there, within `timeout`."""

    async def upload(self, path: str, **form: Unpack[FileForm]) -> bytes:
        """Send a multipart file without holding it in memory, and return the body of the 2xx answer.

        The upstream has `OPENAI_TIMEOUT_SECONDS` to take each chunk, and again to answer after the last one.
        An error that `chunks` raises aborts the request and leaves as `UpstreamBrokenError`.
        """

    async def aclose(self) -> None:
        """Close the connection pool."""
