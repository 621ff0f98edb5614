"""Moderation by the upstream: with each response where it has that, else by its moderations endpoint."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, Self

import orjson
import structlog

from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import ContentBlockedError, ModerationUnavailableError
from app.core.upstream.errors import NO_ROUTE, UpstreamError, UpstreamMalformedError, UpstreamRefusedError
from app.core.upstream.port import Upstream
from app.translate.events import Json
from app.translate.moderation import flagged, is_input_blocked

Ability = Literal["policy", "endpoint", "none"]

NO_MODERATION = (
    "MODERATION: the upstream has neither a moderation policy for responses nor a moderations endpoint. "
    "Choose another upstream, or set MODERATION=off and write a guard (docs/safety.md)"
)
FLAGGED_HEADER = "x-content-flagged"
"""What was flagged, as far as it is known when the answer begins: `input`, `output` or both."""

_log = structlog.get_logger(__name__)
_PROBE_SECONDS = 10.0
_PAUSE_SECONDS = 5.0
_MOST_CHARS_AT_ONCE = 20_000
_HARMLESS = "Hello"
_PROBE_TOKENS = 16


class Moderation:
    """What the upstream can do is found out from its own answers, once for each process.

    Args:
        settings: `MODERATION` is flag or block.
        upstream: is asked.
        model: the model that answers.

    """

    def __init__(self, settings: Settings, upstream: Upstream, model: str) -> None:
        self.is_blocking = settings.moderation == "block"
        self.ability: Ability | None = None
        """How the upstream moderates; None while that is not known."""
        mode = {"mode": "block" if self.is_blocking else "score"}
        self._moderator = settings.moderation_model
        self._policy: Json = {"model": self._moderator, "policy": {"input": mode, "output": mode}}
        self._upstream = upstream
        self._model = model

    @classmethod
    def load(cls, settings: Settings, upstream: Upstream, model: str) -> Self | None:
        """Return the moderation that the settings ask for; None with MODERATION=off."""
        return None if settings.moderation == "off" else cls(settings, upstream, model)

    async def start(self) -> None:
        """Ask the upstream; raises `ValueError`, in one line, where it says that it cannot do what is set."""
        await self.ask()
        if self.is_blocking and self.ability == "none":
            _log.error("moderation_missing", hint=NO_MODERATION)
            raise ValueError(NO_MODERATION)

    @property
    def is_refusing(self) -> bool:
        """Whether no text may pass, as nobody moderates it."""
        return self.is_blocking and self.ability in {None, "none"}

    async def ask(self) -> None:
        """Find out what the upstream can do; an answer that does not tell leaves it open."""
        try:
            if await self._has_policy():
                self.ability = "policy"
            else:
                self.ability = "endpoint" if await self._has_endpoint() else "none"
        except UpstreamError as exc:
            _log.warning("moderation_unknown", code=exc.code)
            return
        log = _log.warning if self.ability == "none" else _log.info
        log("moderation_found", by=self.ability, is_blocking=self.is_blocking)

    async def watch(self) -> None:
        """Ask again until the upstream tells."""
        while self.ability is None:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self.ask()

    def params(self) -> Json:
        """Return what a request for a response says of moderation; raises `ModerationUnavailableError`."""
        if self.is_refusing:
            raise ModerationUnavailableError
        return {"moderation": self._policy} if self.ability == "policy" else {}

    async def is_flagged(self, texts: Sequence[str]) -> bool:
        """Ask the moderations endpoint; raises an `UpstreamError` if it does not tell."""
        size = _MOST_CHARS_AT_ONCE
        pieces = [text[at : at + size] for text in texts for at in range(0, len(text), size)]
        return any(found.get("flagged") is not False for found in await self._results(pieces))

    async def _has_policy(self) -> bool:
        asked = {"model": self._model, "input": _HARMLESS, "max_output_tokens": _PROBE_TOKENS, "store": False}
        try:
            found = await self._asked("/responses", asked | {"moderation": self._policy})
        except UpstreamError as exc:
            if not _is_refused(exc):
                raise
            return False
        # Many servers ignore what they do not know.
        return isinstance(found.get("moderation"), dict)

    async def _has_endpoint(self) -> bool:
        try:
            await self._results([_HARMLESS])
        except UpstreamError as exc:
            if not _is_refused(exc):
                raise
            return False
        return True

    async def _results(self, texts: list[str]) -> list[Json]:
        if not texts:
            return []
        found = await self._asked("/moderations", {"model": self._moderator, "input": texts})
        results = found.get("results")
        if not isinstance(results, list) or len(results) != len(texts):
            raise UpstreamMalformedError
        if not all(isinstance(result, dict) for result in results):
            raise UpstreamMalformedError
        return results

    async def _asked(self, path: str, body: Json) -> dict[str, Any]:
        answer = await self._upstream.request("POST", path, body=body, timeout=_PROBE_SECONDS)
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError as exc:
            raise UpstreamMalformedError from exc
        return found if isinstance(found, dict) else {}


def _is_refused(exc: UpstreamError) -> bool:
    """Return whether an answer says that the upstream cannot do this."""
    is_odd = isinstance(exc, UpstreamRefusedError | UpstreamMalformedError)
    return is_odd or exc.upstream_status in NO_ROUTE


def heed(scope: RequestScope, response: Json) -> None:
    """Name in a header what was flagged; raises `ContentBlockedError` where that ended the turn at once."""
    if is_input_blocked(response):
        raise ContentBlockedError
    if stages := flagged(response):
        scope.headers[FLAGGED_HEADER] = ", ".join(stages)
