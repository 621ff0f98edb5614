"""Follows a background response, which outlives its stream: reopens the stream, or polls the response."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from app.core.runs.follow import RunStream
from app.core.upstream.errors import (
    UpstreamBrokenError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRefusedError,
    UpstreamServerError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.upstream.responses import Responses
from app.translate.events import DomainEvent, Json
from app.translate.objects import LIVE

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LONGEST_OUTAGE_SECONDS = 60.0
"""How long a background run waits for an upstream that answers with errors, or not at all."""
_PASSING = (
    UpstreamUnreachableError,
    UpstreamBrokenError,
    UpstreamTimeoutError,
    UpstreamServerError,
    UpstreamBusyError,
)
"""Failures that may pass: the upstream is away or overloaded."""


@dataclass(eq=False)
class BackgroundStream(RunStream):
    """The stream of a background response; when it breaks, it is opened again or the response is polled.

    Args:
        responses: reads, follows and cancels the response.
        on_expired: called with the id of a response that expired.
        is_ours: whether the run was started here; a run that is only watched is not stopped on failure.

    """

    in_background = True

    responses: Responses
    on_expired: Callable[[str], None]
    is_ours: bool = True
    _can_reopen: bool = field(default=True, init=False)
    _reopened_after: int | None = field(default=None, init=False)
    _pause_seconds: float = field(default=0.0, init=False)

    async def cancel(self) -> None:
        """Stop the run upstream, unless it has ended."""
        # First: when many clients leave at once, connections are short for the cancelling calls.
        await self.aclose()
        if self.response is not None and not self.is_ended:
            try:
                await self.responses.cancel(self.response["id"])
            except UpstreamError as exc:
                _log.warning("run_not_cancelled", code=exc.code)

    async def _broken(self, failure: UpstreamError) -> list[DomainEvent]:
        await self.upstream.aclose()
        self.measurement.broke(failure.code)
        self._failure = failure
        if self.response is None or self.is_ended:
            return self.translator.fail(failure.detail())
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self._rejoined(self.response["id"])
        except TimeoutError:
            return await self._timed_out()
        except UpstreamError as exc:
            _log.warning("stream_not_recovered", code=exc.code)
            if not self.is_ours or _is_passing(exc):
                return self.fail(failure.detail())
        await self.cancel()
        return self.translator.fail(failure.detail())

    async def _rejoined(self, response_id: str) -> list[DomainEvent]:
        """Go on after the last event: reopen the stream, or poll until the response has ended.

        Raises the `UpstreamError` of an outage that lasts too long, or of a response that is gone.
        """
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        if self.translator.last_sequence != self._reopened_after:
            self._pause_seconds = 0.0
        while True:
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(
                max(self._pause_seconds * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS
            )
            try:
                response = await self.responses.get(response_id)
            except UpstreamError as exc:
                away_since = away_since or loop.time()
                if not _is_passing(exc) or loop.time() - away_since > _LONGEST_OUTAGE_SECONDS:
                    raise
                continue
            away_since = None
            if await self._reopened(response):
                return []
            if response.get("status") not in LIVE:
                return self.translator.finish(response)

    async def _reopened(self, response: Json) -> bool:
        """Reopen the stream after the last event and tell whether that worked.

        It does not where the upstream refuses or its events have no sequence numbers. A response that has
        ended is reopened too, because only the stream has sequence numbers for the remaining events.
        """
        seen = self.translator.last_sequence
        is_over = response.get("status") not in LIVE and seen == self._reopened_after
        if not self._can_reopen or seen is None or is_over or response.get("status") == "cancelled":
            return False
        try:
            life = max(self.deadline - asyncio.get_running_loop().time(), _FIRST_PAUSE_SECONDS)
            self._attach(await self.responses.follow(response["id"], life=life, starting_after=seen))
        except (UpstreamRefusedError, UpstreamNotFoundError) as exc:
            self._can_reopen = False
            _log.info("stream_not_reopened", code=exc.code, now="polling")
            return False
        except UpstreamError as exc:
            if not _is_passing(exc):
                raise
            return False
        self._reopened_after = seen
        return True

    async def _timed_out(self) -> list[DomainEvent]:
        response = self.response
        await self.cancel()
        if response is None:
            self._failure = UpstreamTimeoutError()
            return self.translator.fail(self._failure.detail())
        self.on_expired(response["id"])
        return self.translator.fail({}, status="expired")


def _is_passing(failure: UpstreamError) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(failure, _PASSING) and not isinstance(failure, UpstreamMalformedError)
