"""Stops whatever still runs on a thread that is about to be deleted."""

import asyncio
from dataclasses import dataclass

import structlog

from app.core.runs.held_runs import HeldRuns
from app.core.runs.message_runs import MessageRuns
from app.core.upstream.errors import UpstreamError
from app.core.upstream.responses import Responses
from app.translate.objects import LIVE, run_status
from app.translate.run_metadata import RunHistory

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class LiveRuns:
    """The runs under way, those that a replica streams and those that the upstream has in the background."""

    responses: Responses
    held_runs: HeldRuns
    message_runs: MessageRuns

    async def cancel(self, conversation_id: str, history: RunHistory) -> None:
        """Cancel all runs of a conversation.

        Upstream: GET responses/{r} for the listed runs that are not known to have ended, POST
        responses/{r}/cancel for those that have not.
        """
        await self.held_runs.stop(None, conversation_id)
        current = [history.current_of(first_id) for first_id in history.run_ids]
        await asyncio.gather(*map(self._cancel, self.message_runs.unknown(current)))

    async def _cancel(self, response_id: str) -> None:
        try:
            if run_status(await self.responses.get(response_id)) in LIVE:
                await self.responses.cancel(response_id)
        except UpstreamError as exc:
            # It has just ended, or is gone: in any case the thread can be deleted.
            _log.info("run_not_cancelled", code=exc.code)
