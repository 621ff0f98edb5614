"""The embedded upstream over a real socket, driven by the real SDK."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from app.embedded.settings import EmbeddedSettings
from tests.support import embedded_served

DOCUMENTS = Path(__file__).parent / "documents"

Serve = Callable[..., AbstractAsyncContextManager[AsyncOpenAI]]


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddedSettings:
    return EmbeddedSettings(db=str(tmp_path / "embedded.db"), responder="scripted", docs=DOCUMENTS)


@pytest.fixture
def serve(settings: EmbeddedSettings) -> Serve:
    """Serve with some settings changed; the client that speaks to it."""

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[AsyncOpenAI]:
        key = changes.get("api_key") or "unused"
        async with (
            embedded_served(replace(settings, **changes)) as base_url,
            AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=30) as client,
        ):
            yield client

    return start


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[AsyncOpenAI]:
    async with serve() as client:
        yield client
