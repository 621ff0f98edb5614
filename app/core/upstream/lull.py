"""Moments in which a connection's reads wait for each other, since none of them is wanted."""

import asyncio
import socket
import sys
from contextlib import suppress

_MOST_SECONDS = 0.25
"""How late a read may come that is smaller than what was awaited."""

_KNOWS_LOW_MARKS = sys.platform == "linux"
"""Whether what already waits is told when the mark is lowered."""


class Lull:
    """Keeps the event loop from being called for every few bytes of one socket.

    Source: `SO_RCVLOWAT` in socket(7); the end of a connection is told whatever the mark.
    """

    __slots__ = ("_socket", "_timer")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether less than what is awaited may lie unread."""
        return self._timer is not None

    def last_until(self, awaited_bytes: int) -> None:
        """Be called when so much is there, or after a moment."""
        if awaited_bytes <= 1:
            self.end()
        elif self._timer is None and _KNOWS_LOW_MARKS:
            self._timer = asyncio.get_running_loop().call_later(_MOST_SECONDS, self.end)
            self._mark(awaited_bytes)

    def end(self) -> None:
        """Be called for every byte again, at once if some lie there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._mark(1)

    def _mark(self, size: int) -> None:
        # The transport may have closed the socket already.
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
