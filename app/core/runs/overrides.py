"""Remembers how runs override the assistant, for their rounds after tool outputs.

An upstream repeats a request's tools in its response with their secrets struck out, so a later round cannot
take them from there. They are forgotten when the run expires; with Redis, every replica knows them.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import orjson
import structlog

from app.core.assistant import OVERRIDES
from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.translate.events import Json
from app.translate.run_metadata import RunRounds

_log = structlog.get_logger(__name__)
_PREFIX = "soloist:overrides:"
_MAX_RUNS = 1_000
_MAX_BYTES = 64 * 1024
_STRUCK_OUT = "<redacted>"


@dataclass(eq=False)
class RunOverrides:
    """The parameters that runs override, by the id of their first response."""

    redis: SharedRedis | None
    lifetime_seconds: int
    _kept: OrderedDict[str, tuple[float, bytes]] = field(default_factory=OrderedDict, init=False)
    """The packed parameters, each with the `time.monotonic` when they expire, oldest first."""

    async def keep(self, first_id: str, params: Json) -> None:
        """Remember the overridden parameters among those of a run's first round, if there are any."""
        keys = _overridden(params)
        packed = orjson.dumps({key: params[key] for key in keys if key in params}) if keys else b""
        if not 0 < len(packed) <= _MAX_BYTES:
            return
        self._forget()
        self._kept[first_id] = (time.monotonic() + self.lifetime_seconds, packed)
        if len(self._kept) > _MAX_RUNS:
            self._kept.popitem(last=False)
        if (redis := self.redis) is not None:
            name = _PREFIX + first_id
            try:
                await redis.call(lambda: redis.client.set(name, packed, ex=self.lifetime_seconds))
            except RedisAwayError:
                _log.warning("run_overrides_not_shared")

    async def of(self, first_id: str, response: Json) -> Json:
        """Return the overridden parameters of a run, whose last round is `response`.

        A run that is not remembered here goes on with what the response repeats, without the tools whose
        secrets are struck out there.
        """
        keys = _overridden(response)
        if not keys:
            return {}
        self._forget()
        if packed := self._kept.get(first_id, (0, b""))[1] or await self._shared(first_id):
            kept: Json = orjson.loads(packed)
            return kept
        echo = {key: response[key] for key in keys if response.get(key) is not None}
        if isinstance(tools := echo.get("tools"), list):
            echo["tools"] = [tool for tool in tools if _STRUCK_OUT not in orjson.dumps(tool).decode()]
            if len(echo["tools"]) < len(tools):
                _log.warning("run_tools_not_remembered", dropped=len(tools) - len(echo["tools"]))
        return echo

    def _forget(self) -> None:
        """Forget the runs that have expired."""
        while self._kept and next(iter(self._kept.values()))[0] <= time.monotonic():
            self._kept.popitem(last=False)

    async def _shared(self, first_id: str) -> bytes | str | None:
        if (redis := self.redis) is None:
            return None
        try:
            return await redis.call(lambda: redis.client.get(_PREFIX + first_id))
        except RedisAwayError:
            return None


def _overridden(holder: Json) -> set[str]:
    """Return the response parameters that a run overrides in later rounds, by a request or a response of it.

    Not `tool_choice`: a function that is forced in every round would never let the run end.
    """
    names = {OVERRIDES.get(mark) for mark in RunRounds.read(holder).marks}
    return {name for name in names if name and name != "tool_choice"}
