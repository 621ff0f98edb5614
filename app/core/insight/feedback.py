"""Thumbs up or down for answers, from those who got them."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.caller import RequestScope
from app.core.errors import BadRequestError, NoStoreError
from app.core.insight.rating import Rating
from app.core.services.messages import Messages
from app.core.services.runs import Runs
from app.core.unsupported_params import UnsupportedParams
from app.models.feedback import FeedbackCreate
from app.translate.events import Json
from app.translate.objects import last_message

if TYPE_CHECKING:
    from app.core.insight.insight import Insight


@dataclass(eq=False)
class FeedbackService:
    """The service behind `/feedback`."""

    messages: Messages
    runs: Runs
    unsupported: UnsupportedParams
    insight: "Insight | None"

    async def give(self, scope: RequestScope, body: FeedbackCreate) -> Json:
        """Store what the caller says of an answer, and tell the webhook and the trace.

        Upstream: what reads the message or the run, which must be there. Raises `NoStoreError` without a
        store, `NotFoundError` for what is not the caller's, and `BadRequestError` for what is no answer.
        """
        if self.insight is None or not self.insight.is_used:
            raise NoStoreError("feedback")
        self.unsupported.check(body, scope)
        if (body.message_id is None) == (body.run_id is None):
            raise BadRequestError("Send either 'message_id' or 'run_id'.", param="run_id")
        return await self.insight.rated(scope, await self._rating(scope, body))

    async def of_thread(self, scope: RequestScope, thread_id: str) -> list[Json]:
        """Return what the caller said of a thread's answers; an empty list without a store."""
        if self.insight is None or not self.insight.is_used:
            return []
        conversation_id = scope.conversation(thread_id)
        ratings = await self.insight.feedback.of_thread(conversation_id, scope.caller.owner)
        return [rating.public(scope.ids) for rating in ratings]

    async def _rating(self, scope: RequestScope, body: FeedbackCreate) -> Rating:
        conversation_id = scope.conversation(body.thread_id)
        item_id: str | None
        first_id: str | None
        if body.message_id is None:
            view = await self.runs.view(scope, body.thread_id, str(body.run_id))
            # Named by its answer, so that a rating of the same message replaces this one.
            item_id, first_id = last_message(view.response), view.first_id
        else:
            message = await self.messages.get(scope, body.thread_id, body.message_id)
            if message["role"] != "assistant":
                raise BadRequestError("This message is no answer of the assistant.", param="message_id")
            item_id = scope.item(body.message_id)
            first_id = scope.response(message["run_id"]) if message["run_id"] else None
        return Rating(
            conversation_id,
            item_id or str(first_id),
            scope.caller.owner,
            is_message=item_id is not None,
            run_id=first_id,
            value=body.value,
            # PostgreSQL takes no NUL in a text.
            comment=(body.comment or "").replace("\0", "").strip() or None,
            created_at=int(time.time()),
        )
