"""An adapter in front of an upstream that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from app.core.upstream import session
from app.core.upstream.factory import open_upstream
from app.core.upstream.port import Upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import FakeUpstream, Handler, RawHandler, fake_upstream, raw_upstream
from tests.support import make_settings

Open = Callable[..., AbstractAsyncContextManager[tuple[Upstream, FakeUpstream]]]


@asynccontextmanager
async def _adapter(adapter: str, url: str, changes: dict[str, Any]) -> AsyncIterator[Upstream]:
    defaults = {"openai_base_url": url, "openai_api_key": "key", "openai_timeout_seconds": 20}
    settings = make_settings(upstream_adapter=adapter, **(defaults | changes))
    upstream = open_upstream(target_of(settings), settings)
    try:
        yield upstream
    finally:
        await upstream.aclose()


@pytest.fixture
def opened(adapter: str) -> Open:
    """An upstream port in front of a handler; other arguments are settings."""

    @asynccontextmanager
    async def begin(handler: Handler, **changes: Any) -> AsyncIterator[tuple[Upstream, FakeUpstream]]:
        async with fake_upstream(handler) as fake, _adapter(adapter, fake.url, changes) as upstream:
            yield upstream, fake

    return begin


@pytest.fixture
def opened_raw(adapter: str) -> Any:
    """The same in front of a handler that reads its one request itself; yields what is set at its end."""

    @asynccontextmanager
    async def begin(handler: RawHandler, **changes: Any) -> AsyncIterator[tuple[Upstream, asyncio.Event]]:
        async with raw_upstream(handler) as (url, gone), _adapter(adapter, url, changes) as upstream:
            yield upstream, gone

    return begin


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[ResponseHandler]:
    """Our ends of the connections that requests were sent over, in their order."""
    found: list[ResponseHandler] = []
    send = session._Request.send

    async def noted(request: Any, conn: Any) -> Any:
        found.append(conn.protocol)
        return await send(request, conn)

    monkeypatch.setattr(session._Request, "send", noted)
    return found
