"""Whether the service can work: is the upstream reachable, and how long will its model live."""

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from app.core.errors import ServiceError
from app.core.limits.shared_redis import SharedRedis
from app.core.upstream.errors import UpstreamNotFoundError
from app.core.upstream.models import read_model
from app.core.upstream.port import Upstream
from app.core.upstream.target import UpstreamTarget
from app.translate.events import Json

if TYPE_CHECKING:
    from app.core.own_conversations.factory import Kept

_log = structlog.get_logger(__name__)
_CACHE_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_WATCH_SECONDS = 60.0
_DAY_SECONDS = 86_400


class ModelWatch:
    """Remembers a model's shutdown date, and warns once a day from `warn_days` ahead."""

    def __init__(self, model: str, *, warn_days: int) -> None:
        self.model = model
        self.warn_days = warn_days
        self.timestamp: float | None = None  # unix time of the shutdown, if a date is known
        self._warned_at = -math.inf

    def note(self, shutdown_date: object) -> None:
        """Store the shutdown date that the upstream gave; logs a warning when one is due."""
        self.timestamp = unix_time(shutdown_date)
        if self.warning is not None and time.time() - self._warned_at >= _DAY_SECONDS:
            self._warned_at = time.time()
            _log.warning("model_shutdown_ahead", model=self.model, days_left=self.days_left)

    @property
    def days_left(self) -> int | None:
        """Whole days until the shutdown, negative after it."""
        return None if self.timestamp is None else math.floor((self.timestamp - time.time()) / _DAY_SECONDS)

    @property
    def warning(self) -> str | None:
        """A warning sentence from `warn_days` before the shutdown on, else None."""
        days = self.days_left
        if days is None or days > self.warn_days:
            return None
        when = f"is switched off in {days} days" if days >= 0 else "has been switched off"
        return f"The model {self.model} {when}: set ASSISTANT_MODEL to its successor."


class Health:
    """The facts behind `/health` and `/ready`; asks the upstream at most every ten seconds."""

    def __init__(
        self,
        upstream: Upstream,
        target: UpstreamTarget,
        model: ModelWatch,
        responder: str | None,
        redis: SharedRedis | None,
        kept: "Kept | None",
    ) -> None:
        self._upstream = upstream
        self.kind = target.kind
        self.responder = responder
        self._watch = model
        self._redis = redis
        self._kept = kept
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._found: Json = {}
        self._failure: str | None = None  # code of the last check's failure

    @property
    def model(self) -> str:
        """The upstream's name of the model that answers."""
        return self._watch.model

    @property
    def is_reachable(self) -> bool | None:
        """Whether the last check got an answer; None before the first."""
        return self._found.get("reachable")

    @property
    def shutdown_timestamp(self) -> float | None:
        """Unix time at which the model is switched off; None where no date is known."""
        return self._watch.timestamp

    def describe(self) -> Json:
        """Return the upstream's kind and model and who keeps conversations, without a call."""
        found: Json = {"kind": self.kind, "model": self._watch.model}
        found["conversations"] = self._kept.choice.describe() if self._kept else "upstream"
        return found | ({"responder": self.responder} if self.responder else {})

    def describe_redis(self) -> Json | None:
        """Return whether Redis is reachable, or None where none is configured."""
        return None if self._redis is None else {"reachable": not self._redis.is_away}

    def describe_store(self) -> Json | None:
        """Return whether the database is reachable, or None where none is used."""
        if self._kept is None or not self._kept.database.is_open:
            return None
        return {"kind": self._kept.database.kind, "reachable": not self._kept.database.is_away}

    async def check(self) -> Json:
        """Return `{reachable, model_known, shutdown_date, warning, error?}`.

        An upstream that has not told yet whether it keeps conversations is asked again.
        """
        # Probes that come together wait for one check.
        async with self._lock:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                self._found = await self._ask()
                self._checked_at = time.monotonic()
            return self._found | {"warning": self._watch.warning}

    async def watch(self) -> None:
        """Check once a minute, for ever, so that warnings are logged even where no probe asks."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            await self.check()

    async def _ask(self) -> Json:
        try:
            model = await read_model(self._upstream, self.model, seconds=_TIMEOUT_SECONDS)
        except ServiceError as exc:
            is_reachable = isinstance(exc, UpstreamNotFoundError)
            self._tell(exc)
            return {"reachable": is_reachable, "model_known": False, "shutdown_date": None, "error": exc.code}
        shutdown_date = model.get("shutdown_date")
        self._watch.note(shutdown_date)
        found: Json = {"reachable": True, "model_known": True, "shutdown_date": shutdown_date}
        try:
            if self._kept is not None:
                await self._kept.choice.decide(self._upstream)
        except ServiceError as exc:
            self._tell(exc)
            return found | {"reachable": False, "error": exc.code}
        self._failure = None
        return found

    def _tell(self, exc: ServiceError) -> None:
        """Log a failure of the check when it begins, and not again while it stays the same."""
        if exc.code != self._failure:
            self._failure = exc.code
            reason = getattr(exc, "upstream_reason", None) or exc.message
            _log.error("upstream_unusable", model=self.model, code=exc.code, reason=reason)


def unix_time(date: object) -> float | None:
    """Return the unix time of an ISO date or time, or of a number of seconds; None for anything else."""
    if isinstance(date, int | float):
        return float(date)
    if not isinstance(date, str):
        return None
    try:
        found = datetime.fromisoformat(date)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
