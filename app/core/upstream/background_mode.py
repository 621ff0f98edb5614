"""Which responses the upstream creates in its background mode: the one place where that is decided."""

import structlog

from app.core.config import BackgroundSetting, OnDisconnect

_log = structlog.get_logger(__name__)


class BackgroundMode:
    """Says which responses outlive their client, from the setting and from what the upstream has refused.

    `auto` puts those in the background that `detach`; `cancel` and `finish` are plain foreground responses.
    What the upstream refuses is lost with the process and found out again.

    Args:
        setting: `UPSTREAM_BACKGROUND`; `poll` is `auto` without background streams.

    """

    def __init__(self, setting: BackgroundSetting) -> None:
        is_always, is_never = setting in {"always", "stream"}, setting in {"never", "off"}
        self.runs = not is_never
        """Whether a run that is started and left is created in the background."""
        self.streams: frozenset[OnDisconnect] = frozenset()
        """Which runs that are followed are created in the background, by what becomes of them when left."""
        if is_always:
            self.streams = frozenset({"cancel", "finish", "detach"})
        elif setting == "auto":
            self.streams = frozenset({"detach"})

    def refuse_streams(self) -> None:
        """Note that the upstream streams in the foreground only."""
        self.streams = frozenset()
        _log.warning("upstream_background_refused", what="stream", now="foreground streams")

    def refuse_runs(self) -> None:
        """Note that the upstream has no background mode at all."""
        self.runs, self.streams = False, frozenset()
        _log.warning("upstream_background_refused", what="run", now="runs finish inside their request")
