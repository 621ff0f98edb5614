"""Opens the upstream that the settings choose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.config import PROJECT_ROOT, Settings
from app.core.upstream.aiohttp_client import AiohttpUpstream
from app.core.upstream.port import Upstream
from app.core.upstream.target import UpstreamTarget, target_of
from app.utils.hosts import origin_of, with_path


@asynccontextmanager
async def opened_target(settings: Settings) -> AsyncIterator[UpstreamTarget]:
    """Yield the upstream's target; without a key, serve the embedded upstream on a loopback port."""
    if settings.upstream_kind != "embedded":
        yield target_of(settings)
        return
    # Imported here so that a service with a key does not load the embedded upstream.
    from app.embedded.server import serve_embedded
    from app.embedded.settings import EmbeddedSettings

    address = with_path(settings.public_url or origin_of(settings.host, settings.port), settings.path_prefix)
    embedded = EmbeddedSettings(
        db=settings.embedded_db,
        responder=settings.embedded_responder,
        docs=PROJECT_ROOT,
        docs_url=f"{address}/guide/",
    )
    async with serve_embedded(embedded) as base_url:
        yield target_of(settings, base_url)


def open_upstream(target: UpstreamTarget, settings: Settings) -> Upstream:
    """Return an upstream with the adapter that the settings choose."""
    if settings.upstream_adapter == "sdk":
        # Imported here: loading the openai package takes a quarter of the service's start-up time.
        from app.core.upstream.sdk import SdkUpstream

        return SdkUpstream(target, settings)
    return AiohttpUpstream(target, settings)


def model_name(settings: Settings, model: str) -> str:
    """Return the name of the model that answers."""
    return f"soloist-{settings.embedded_responder}" if settings.upstream_kind == "embedded" else model
