"""Whether the service can do its work: which upstream answers, and whether it does."""

import asyncio
import time

from app.core.calls import parsed
from app.core.errors import ServiceError
from app.core.upstream.port import Upstream
from app.core.upstream.target import UpstreamTarget
from app.translate.events import Json

_CACHE_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0


class Health:
    """What `/health` and `/ready` tell; the upstream is asked at most once in ten seconds."""

    def __init__(self, upstream: Upstream, target: UpstreamTarget, model: str, responder: str | None) -> None:
        self._upstream = upstream
        self.kind = target.kind
        self.responder = responder
        self.model = model
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._found: Json = {}

    def describe(self) -> Json:
        """Say which upstream answers; no upstream call."""
        found: Json = {"kind": self.kind, "model": self.model}
        return found | ({"responder": self.responder} if self.responder else {})

    async def check(self) -> Json:
        """Return `{reachable, model_known, shutdown_date, error?}`. Upstream: GET models/{model}."""
        async with self._lock:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                self._found = await self._ask()
                self._checked_at = time.monotonic()
            return self._found

    async def _ask(self) -> Json:
        try:
            body = await self._upstream.request("GET", f"/models/{self.model}", timeout=_TIMEOUT_SECONDS)
            model = parsed(body)
        except ServiceError as exc:
            is_reachable = exc.status_code == 404
            return {"reachable": is_reachable, "model_known": False, "shutdown_date": None, "error": exc.code}
        return {"reachable": True, "model_known": True, "shutdown_date": model.get("shutdown_date")}
