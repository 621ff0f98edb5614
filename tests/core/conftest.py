"""An adapter in front of an upstream that does what a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from app.core.upstream.factory import open_upstream
from app.core.upstream.port import Upstream
from app.core.upstream.target import target_of
from tests.fake_upstream import FakeUpstream, Handler, fake_upstream
from tests.support import make_settings

Open = Callable[..., AbstractAsyncContextManager[tuple[Upstream, FakeUpstream]]]


@pytest.fixture
def opened(adapter: str) -> Open:
    """An upstream port in front of a handler; other arguments are settings."""

    @asynccontextmanager
    async def begin(handler: Handler, **changes: Any) -> AsyncIterator[tuple[Upstream, FakeUpstream]]:
        async with fake_upstream(handler) as fake:
            defaults = {"openai_base_url": fake.url, "openai_api_key": "key", "openai_timeout_seconds": 20}
            settings = make_settings(upstream_adapter=adapter, **(defaults | changes))
            upstream = open_upstream(target_of(settings), settings)
            try:
                yield upstream, fake
            finally:
                await upstream.aclose()

    return begin
