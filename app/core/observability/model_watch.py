"""Says in good time that the assistant's model is going to be switched off."""

import math
import time
from datetime import UTC, datetime

import structlog

_log = structlog.get_logger(__name__)
_DAY_SECONDS = 86_400


class ModelWatch:
    """Remembers a model's shutdown date, and warns once a day from `warn_days` ahead."""

    def __init__(self, model: str, *, warn_days: int) -> None:
        self.model = model
        self.warn_days = warn_days
        self.timestamp: float | None = None
        """Unix time of the shutdown; None where no date is known."""
        self._warned_at = -math.inf

    def note(self, shutdown_date: object) -> None:
        """Take what the upstream says of the model; logs a warning when one is due."""
        self.timestamp = unix_time(shutdown_date)
        if self.warning is not None and time.time() - self._warned_at >= _DAY_SECONDS:
            self._warned_at = time.time()
            _log.warning("model_shutdown_ahead", model=self.model, days_left=self.days_left)

    @property
    def days_left(self) -> int | None:
        """Whole days until the shutdown, negative after it."""
        return None if self.timestamp is None else math.floor((self.timestamp - time.time()) / _DAY_SECONDS)

    @property
    def warning(self) -> str | None:
        """The warning in a sentence, within `warn_days` of the shutdown."""
        days = self.days_left
        if days is None or days > self.warn_days:
            return None
        when = f"is switched off in {days} days" if days >= 0 else "has been switched off"
        return f"The model {self.model} {when}: set ASSISTANT_MODEL to its successor."


def unix_time(date: object) -> float | None:
    """Return the unix time of an ISO date or time, or of a number of seconds; None for anything else."""
    if isinstance(date, int | float):
        return float(date)
    if not isinstance(date, str):
        return None
    try:
        found = datetime.fromisoformat(date)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
