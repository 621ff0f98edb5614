"""Fixtures of the security tests."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.security.support import GUARDED
from tests.support import Service, embedded_upstream, in_process, make_settings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[Service]:
    """The service with two API keys, once for a module; limits would carry over, so they are off.

    Tests that use it run in the module's event loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
    """
    async with embedded_upstream() as url:
        settings = make_settings(
            openai_base_url=url, openai_api_key="key", rate_limit_enabled=False, **GUARDED
        )
        async with in_process(settings) as service:
            yield service
