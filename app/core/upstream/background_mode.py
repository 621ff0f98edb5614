"""Which responses the upstream creates in its background mode: the one place where that is decided."""

import structlog

from app.core.config import BackgroundSetting, OnDisconnect

_log = structlog.get_logger(__name__)


class BackgroundMode:
    """Says which responses outlive their client, from the setting and from what the upstream has refused.

    A refusal is lost with the process and found out again.

    Args:
        setting: `auto` puts the runs in the background that `detach`, `poll` does so without streams.

    """

    def __init__(self, setting: BackgroundSetting) -> None:
        self._is_always = setting in {"always", "stream"}
        self._takes_runs = setting not in {"never", "off"}
        self._takes_streams = self._takes_runs and setting != "poll"

    def runs(self) -> bool:
        """Whether a run that is started and left is created in the background."""
        return self._takes_runs

    def streams(self, on_disconnect: OnDisconnect) -> bool:
        """Whether a run that is followed is created in the background, where it outlives its stream."""
        return self._takes_streams and (self._is_always or on_disconnect == "detach")

    def possible(self, on_disconnect: OnDisconnect) -> OnDisconnect:
        """Return what can be done for a run whose client leaves: without background, detach is finish."""
        return "finish" if on_disconnect == "detach" and not self._takes_streams else on_disconnect

    def refuse_streams(self) -> None:
        """Note that the upstream streams in the foreground only."""
        self._takes_streams = False
        _log.warning("upstream_background_refused", what="stream", now="foreground streams")

    def refuse_runs(self) -> None:
        """Note that the upstream has no background mode at all."""
        self._takes_runs = self._takes_streams = False
        _log.warning("upstream_background_refused", what="run", now="runs finish inside their request")
