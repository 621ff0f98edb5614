"""Counters of this process, as a storage of the `limits` package.

Its own memory storage starts a thread to forget, and lets its keys grow without a bound; both are costs that
strangers could choose.
"""

import time
from collections import OrderedDict
from typing import Any

from limits.storage import Storage

MAX_COUNTERS = 100_000


class BoundedMemoryStorage(Storage):
    """Fixed-window counters; over the bound the one that was used longest ago is forgotten."""

    STORAGE_SCHEME = ["bounded-memory"]  # noqa: RUF012 - declared by the base class without ClassVar

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage may raise: nothing of its own."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count up and return the count; a new window lasts `expiry` seconds."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        if ends_at <= time.time():
            count, ends_at = 0, time.time() + expiry
        self._counters[key] = (count + amount, ends_at)
        self._counters.move_to_end(key)
        if len(self._counters) > MAX_COUNTERS:
            self._counters.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """Return the count of a window that still runs."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends, in unix seconds."""
        return self._counters.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Tell that the storage works."""
        return True

    def reset(self) -> int:
        """Forget every counter and return how many there were."""
        count = len(self._counters)
        self._counters.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one counter."""
        self._counters.pop(key, None)
