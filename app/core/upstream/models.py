"""Reads what the upstream knows of a model."""

from app.core.upstream.errors import UpstreamRouteMissingError, error_for
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.failures import failure_for
from app.translate.upstream_types import checked_model, checked_page


async def read_model(upstream: Upstream, model: str, *, seconds: float) -> Json:
    """Return the upstream's object of a model, waiting so many seconds for each of up to two calls.

    Raises `UpstreamModelMissingError` if the upstream knows other models only, and any other `ServiceError`.
    """
    try:
        return parsed(await upstream.request("GET", f"/models/{model}", timeout=seconds), checked_model)
    except UpstreamRouteMissingError:
        # llama.cpp and vLLM can only list their models.
        page = parsed(await upstream.request("GET", "/models", timeout=seconds), checked_page)
    for found in page["data"]:
        if found.get("id") == model:
            return checked_model(found)
    raise error_for(failure_for("model_not_found"))
