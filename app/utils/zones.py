"""Time zones by their names."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def zone_of(name: str) -> tzinfo:
    """Return a time zone; raises `KeyError`, `ValueError` or `OSError` for a name that is none.

    UTC is known also on machines without a database of time zones.
    """
    return UTC if name == "UTC" else ZoneInfo(name)
