"""Whether the stream of a response is worth another try."""

import asyncio

from app.core.upstream.errors import UpstreamError, UpstreamTimeoutError
from app.translate.objects import LIVE

_MOST = 20
"""How often a stream that breaks is opened again."""

_SILENCE_SECONDS = 10.0
"""A connection that lasted so long without a word was silent, whoever ended it."""


class Reconnects:
    """The tries to follow one response in the background.

    The silence of a model at work may last until the run's deadline, and does not count; a stream that
    breaks is opened again while the try before brought anything new.
    """

    __slots__ = ("_count", "_seen", "_tried_at")

    def __init__(self) -> None:
        self._count = 0
        self._seen: int | None = None
        self._tried_at = asyncio.get_running_loop().time()

    def allow(self, status: object, seen: int | None, failure: UpstreamError | None) -> bool:
        """Tell whether to try again, at once, after `failure`; `seen` is the last event's number."""
        if seen is None:
            # Nobody could tell what of the next stream is new.
            return False
        now = asyncio.get_running_loop().time()
        lasted, self._tried_at = now - self._tried_at, now
        if status in LIVE and _was_silent(failure, lasted):
            return True
        has_progress = self._count == 0 or seen != self._seen
        self._count += 1
        self._seen = seen
        return has_progress and self._count <= _MOST


def _was_silent(failure: UpstreamError | None, lasted: float) -> bool:
    # A gateway's answer is no silence: some answer at once.
    is_timeout = isinstance(failure, UpstreamTimeoutError) and failure.upstream_status is None
    return is_timeout or lasted >= _SILENCE_SECONDS
