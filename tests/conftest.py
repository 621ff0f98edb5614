"""Fixtures that all tests of the service share; see `support.py` for what they start."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.support import TLS, WEATHER, Service, embedded_upstream, in_process, make_settings, served

Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """An embedded upstream with the scripted responder; its base URL."""
    async with embedded_upstream() as url:
        yield url


@pytest.fixture(params=["direct", "sdk"])
def adapter(request: pytest.FixtureRequest) -> str:
    """Both ways to the upstream, one after the other."""
    return str(request.param)


@pytest.fixture
def start() -> Start:
    """Start the service before the upstream at `url`, else before one of its own; the rest are settings."""

    @asynccontextmanager
    async def begin(
        *,
        url: str | None = None,
        knobs: dict[str, Any] | None = None,
        is_served: bool = False,
        **settings: Any,
    ) -> AsyncIterator[Service]:
        async with AsyncExitStack() as stack:
            url = url or await stack.enter_async_context(embedded_upstream(**(knobs or {})))
            defaults = {"openai_base_url": url, "openai_api_key": "key", "assistant_tools": [WEATHER]}
            run = served if is_served else in_process
            yield await stack.enter_async_context(run(make_settings(**(defaults | settings))))

    return begin


@pytest.fixture
async def client(start: Start, upstream: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service in this process, before the scripted upstream."""
    async with start(url=upstream) as service:
        yield service.client


@pytest.fixture
async def live(start: Start, upstream: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service over a real socket, before the scripted upstream."""
    async with start(url=upstream, is_served=True) as service:
        yield service.client


@pytest.fixture
async def either(start: Start, upstream: str, adapter: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The same, once for each upstream adapter."""
    async with start(url=upstream, is_served=True, upstream_adapter=adapter) as service:
        yield service.client


@pytest.fixture(scope="session", autouse=True)
def _one_tls_context() -> Iterator[None]:
    """Read the machine's certificates once: every client would, and no test speaks TLS to a real host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx2._transports.default.create_ssl_context", lambda *_, **__: TLS)
        yield
