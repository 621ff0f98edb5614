"""Decides which responses the upstream creates in its background mode; nothing else does."""

import structlog

from app.core.config import BackgroundSetting, OnDisconnect

_log = structlog.get_logger(__name__)


class BackgroundMode:
    """Which responses outlive their client, by the setting and by what the upstream has refused.

    With `auto`, `detach` makes a background response, `cancel` and `finish` a foreground one. A refusal is
    remembered by this process only; after a restart it is found out again.

    Args:
        setting: `UPSTREAM_BACKGROUND`; `poll` is `auto` without background streams.

    """

    def __init__(self, setting: BackgroundSetting) -> None:
        is_always, is_never = setting in {"always", "stream"}, setting in {"never", "off"}
        self.runs = not is_never
        """Whether a run that its client will poll is a background response."""
        self.streams: frozenset[OnDisconnect] = frozenset()
        """The `on_disconnect` values for which a followed run is a background response."""
        if is_always:
            self.streams = frozenset({"cancel", "finish", "detach"})
        elif setting == "auto":
            self.streams = frozenset({"detach"})

    def refuse_streams(self) -> None:
        """Remember that the upstream streams foreground responses only."""
        self.streams = frozenset()
        _log.warning("upstream_background_refused", what="stream", now="foreground streams")

    def refuse_runs(self) -> None:
        """Remember that the upstream has no background mode at all."""
        self.runs, self.streams = False, frozenset()
        _log.warning("upstream_background_refused", what="run", now="runs finish inside their request")
