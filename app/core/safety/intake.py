"""The door for messages that clients bring: every one passes here before anything is sent or stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.core.caller import RequestScope
from app.core.errors import ContentBlockedError, ModerationUnavailableError
from app.core.observability.metrics import Metrics
from app.core.safety.guards import Guards
from app.core.safety.moderation import FLAGGED_HEADER, Moderation
from app.core.upstream.errors import UpstreamError
from app.tools import Caller
from app.translate.events import Json

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Intake:
    """Guards first, then the upstream's moderations endpoint where responses are not moderated themselves."""

    guards: Guards | None
    moderation: Moderation | None
    metrics: Metrics

    async def admitted(
        self, scope: RequestScope, items: Sequence[Json], thread_id: str | None = None
    ) -> list[Json]:
        """Return the items with their messages as the guards let them through.

        Raises `ContentBlockedError` for a text that may not pass, `GuardFailedError` and
        `ModerationUnavailableError` if that cannot be told.
        """
        found = list(items)
        if self.guards is not None:
            caller = Caller(scope.caller.user, thread_id, None, scope.caller.claims)
            for at, item in enumerate(found):
                if item.get("type") == "message":
                    found[at] = await self.guards.checked(item, caller)
        if self.moderation is not None and (texts := _texts(found)):
            await self._moderate(self.moderation, scope, texts)
        return found

    async def _moderate(self, moderation: Moderation, scope: RequestScope, texts: list[str]) -> None:
        if moderation.is_refusing:
            raise ModerationUnavailableError
        if moderation.ability is None:
            self.metrics.content_checked("input", "failed")
        if moderation.ability != "endpoint":
            return
        try:
            is_flagged = await moderation.is_flagged(texts)
        except UpstreamError as exc:
            _log.warning("moderation_failed", code=exc.code)
            self.metrics.content_checked("input", "failed")
            if moderation.is_blocking:
                raise ModerationUnavailableError from exc
            return
        if is_flagged:
            self.metrics.content_checked("input", "blocked" if moderation.is_blocking else "flagged")
            if moderation.is_blocking:
                raise ContentBlockedError
            scope.headers[FLAGGED_HEADER] = "input"


def _texts(items: Sequence[Json]) -> list[str]:
    parts = [part for item in items if item.get("type") == "message" for part in item.get("content") or []]
    return [part["text"] for part in parts if part.get("text")]
