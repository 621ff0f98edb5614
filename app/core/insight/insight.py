"""What the store keeps of turns and of feedback, and who is told of it."""

from collections.abc import Callable, Sequence

from app.core.caller import RequestScope, owner_hash
from app.core.insight.event_webhook import EventWebhook
from app.core.insight.feedback_table import FeedbackTable
from app.core.insight.rating import Rating
from app.core.insight.report import report_of
from app.core.insight.usage_log import UsageLog
from app.core.insight.usage_table import UsageTable
from app.core.store.database import Database
from app.core.telemetry import Tracing
from app.translate.events import Json


class Insight:
    """Feedback and usage in the store.

    Args:
        database: the store.
        is_used: tells whether the service has a store.
        keys: the secrets that owners are hashed with; the first one hashes.
        webhook: is told of feedback, if there is one.
        tracing: takes feedback onto the trace of its run.
        lost: is told how many rows of usage were lost.

    """

    def __init__(
        self,
        database: Database,
        is_used: Callable[[], bool],
        keys: Sequence[bytes],
        webhook: EventWebhook | None,
        tracing: Tracing,
        lost: Callable[[int], None],
    ) -> None:
        self.feedback = FeedbackTable(database)
        self._database = database
        self._usage = UsageTable(database)
        self._is_used = is_used
        self._keys = tuple(keys)
        self._webhook = webhook
        self._tracing = tracing
        self.usage_log = UsageLog(self._usage.add, is_used, self._hash_of, lost)

    @property
    def is_used(self) -> bool:
        """Whether the service has a store."""
        return self._is_used()

    async def rated(self, scope: RequestScope, rating: Rating) -> Json:
        """Store a rating, tell the webhook and the trace, and return it; raises `StoreAwayError`."""
        rating = await self.feedback.put(rating)
        if self._webhook is not None:
            data = rating.public(scope.ids)
            del data["comment"], data["object"]
            user = self._hash_of(rating.owner) if rating.owner else None
            self._webhook.send("feedback.created", data | {"user_hash": user})
        if self._tracing.is_on and rating.run_id is not None:
            await self.usage_log.flush()
            trace = await self._usage.trace_of(rating.run_id)
            self._tracing.evaluated(trace, rating.run_id, rating.conversation_id, rating.value)
        return rating.public(scope.ids)

    async def report(self, days: int) -> Json:
        """Return the report of the last days; raises `StoreAwayError`."""
        await self.usage_log.flush()
        return await self._database.run(lambda connection: report_of(connection, days, self._keys))

    async def forget(self, owner: str) -> None:
        """Delete what an owner said, and take the owner out of what was used; raises `StoreAwayError`."""
        await self.usage_log.flush()
        await self.feedback.forget(owner)
        await self._usage.forget([owner_hash(key, owner) for key in self._keys or (b"",)])

    def _hash_of(self, owner: str) -> str:
        return owner_hash(self._keys[0] if self._keys else b"", owner)
