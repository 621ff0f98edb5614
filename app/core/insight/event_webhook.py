"""The operator's webhook: FEEDBACK_WEBHOOK_URL gets events with ids, times and numbers, never content.

Each event is one POST, signed as https://www.standardwebhooks.com says, with the same
`webhook-id` in each try.
"""

import asyncio
import json
import random
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, Self

import aiohttp
import structlog
from standardwebhooks import Webhook

from app.core.budgets.service import BudgetReached
from app.core.config import VERSION, Settings
from app.core.upstream.errors import UpstreamError
from app.core.upstream.session import open_session
from app.translate.events import Json
from app.utils.hosts import environment_proxy

_log = structlog.get_logger(__name__)
EventType = Literal["feedback.created", "budget.reached"]
_PAUSES_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""The pauses between the five tries; each is up to half as long again."""

_TRY_SECONDS = 15.0
_MOST_PENDING = 1_000
"""Events under way; more are lost."""


class EventWebhook:
    """Sends events in the background, in no certain order."""

    def __init__(self, url: str, secret: str, settings: Settings, ended: Callable[[str], None]) -> None:
        self._url = url
        self._webhook = Webhook(secret)
        self._settings = settings
        self._ended = ended
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        environment_proxy(url)  # a proxy that cannot be used is told at start

    @classmethod
    def of(cls, settings: Settings, ended: Callable[[str], None]) -> Self | None:
        """Return the webhook of the settings, None without one; `ended` is told `sent` or `lost` each time.

        Raises `ValueError` for a proxy that cannot be used.
        """
        url, secret = settings.feedback_webhook_url, settings.feedback_webhook_secret
        return cls(url, secret.get_secret_value(), settings, ended) if url and secret else None

    def send(self, event: EventType, data: Json) -> None:
        """Send an event without waiting; `data` has no content of messages."""
        now = datetime.now(UTC)
        body = json.dumps({"type": event, "timestamp": now.isoformat(), "data": data})
        if len(self._tasks) >= _MOST_PENDING:
            self._lose(event)
            return
        task = asyncio.create_task(self._delivered(event, f"evt_{secrets.token_hex(16)}", body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def budget_reached(self, reached: BudgetReached) -> None:
        """Tell that a budget has come to 80 or 100 percent."""
        self.send("budget.reached", reached._asdict())

    async def aclose(self) -> None:
        """Give up what is under way, and close the connections."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _delivered(self, event: str, message_id: str, body: str) -> None:
        is_sent = False
        try:
            for pause in (*_PAUSES_SECONDS, None):
                if is_sent := await self._sent(message_id, body):
                    break
                if pause is not None:
                    # Spread out, as many events may have failed together.
                    await asyncio.sleep(pause * random.uniform(1, 1.5))  # noqa: S311 - no secret
        finally:
            if is_sent:
                self._ended("sent")
            else:
                self._lose(event)

    async def _sent(self, message_id: str, body: str) -> bool:
        """Try once, and return whether the receiver has taken it."""
        now = datetime.now(UTC)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        if self._session is None:
            ours = {"content-type": "application/json", "user-agent": f"soloist/{VERSION}"}
            self._session = open_session(self._url, ours, self._settings)
        try:
            async with (
                asyncio.timeout(_TRY_SECONDS),
                self._session.post(
                    self._url, data=body.encode(), headers=headers, allow_redirects=False
                ) as response,
            ):
                return 200 <= response.status < 300
        except (UpstreamError, aiohttp.ClientError, OSError):
            return False

    def _lose(self, event: str) -> None:
        self._ended("lost")
        _log.warning("webhook_event_lost", type=event)
