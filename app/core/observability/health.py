"""Whether the service can do its work: which upstream answers, and whether it does."""

import asyncio
import time

from app.core.errors import ServiceError
from app.core.limits.shared_redis import SharedRedis
from app.core.observability.model_watch import ModelWatch
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.core.upstream.target import UpstreamTarget
from app.translate.events import Json

_CACHE_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_WATCH_SECONDS = 60.0


class Health:
    """What `/health` and `/ready` tell; the upstream is asked at most once in ten seconds."""

    def __init__(
        self,
        upstream: Upstream,
        target: UpstreamTarget,
        model: ModelWatch,
        responder: str | None,
        redis: SharedRedis | None,
    ) -> None:
        self._upstream = upstream
        self.kind = target.kind
        self.responder = responder
        self._watch = model
        self._redis = redis
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._found: Json = {}

    @property
    def model(self) -> str:
        """The model that really answers."""
        return self._watch.model

    @property
    def is_reachable(self) -> bool | None:
        """Whether the upstream answered when it was last asked; None before that."""
        return self._found.get("reachable")

    @property
    def shutdown_timestamp(self) -> float | None:
        """Unix time at which the model is switched off; None where no date is known."""
        return self._watch.timestamp

    def describe(self) -> Json:
        """Say which upstream answers; no upstream call."""
        found: Json = {"kind": self.kind, "model": self._watch.model}
        return found | ({"responder": self.responder} if self.responder else {})

    def describe_redis(self) -> Json | None:
        """Say whether Redis is there; None where none is configured. Without it limits hold per process."""
        return None if self._redis is None else {"reachable": not self._redis.is_away}

    async def check(self) -> Json:
        """Return `{reachable, model_known, shutdown_date, warning, error?}`. Upstream: GET models/{model}."""
        async with self._lock:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                self._found = await self._ask()
                self._checked_at = time.monotonic()
            return self._found | {"warning": self._watch.warning}

    async def watch(self) -> None:
        """Ask for ever, once a minute, so that warnings come where no probe asks."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            await self.check()

    async def _ask(self) -> Json:
        try:
            path = f"/models/{self._watch.model}"
            model = parsed(await self._upstream.request("GET", path, timeout=_TIMEOUT_SECONDS))
        except ServiceError as exc:
            is_reachable = exc.status_code == 404
            return {"reachable": is_reachable, "model_known": False, "shutdown_date": None, "error": exc.code}
        shutdown_date = model.get("shutdown_date")
        self._watch.note(shutdown_date)
        return {"reachable": True, "model_known": True, "shutdown_date": shutdown_date}
