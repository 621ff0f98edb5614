"""Finds the run that wrote a message: the message is in the output of one of the run's responses."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from app.core.upstream.errors import UpstreamError, UpstreamMissingError
from app.core.upstream.responses import Responses
from app.translate.events import Json
from app.translate.objects import LIVE
from app.translate.run_metadata import RunHistory, RunRounds, moment_of

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_MAX_ROUNDS = 50
_MAX_KNOWN = 4_096


@dataclass(frozen=True, slots=True)
class Author:
    """The run that wrote a message, by its first response's id, and the unix time of the round that did."""

    run: str
    created_at: int | None


Authors = dict[str, Author]
"""By the upstream id of a message's item."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What one response wrote, and the response of the round before it."""

    previous: str | None = None
    created_at: int | None = None
    message_ids: tuple[str, ...] = ()


async def rounds_until(
    last_id: str, read: Callable[[str], Awaitable[T]], previous_of: Callable[[T], str | None]
) -> dict[str, T]:
    """Return what `read` finds of a run's rounds, by the ids of their responses, newest first."""
    rounds: dict[str, T] = {}
    current: str | None = last_id
    while current and current not in rounds and len(rounds) < _MAX_ROUNDS:
        rounds[current] = await read(current)
        current = previous_of(rounds[current])
    return rounds


@dataclass(eq=False)
class MessageRuns:
    """Knows which messages the responses wrote; remembers that of ended ones, as it cannot change."""

    responses: Responses
    _known: OrderedDict[str, _Written] = field(default_factory=OrderedDict, init=False)

    async def authors(self, history: RunHistory) -> Authors:
        """Return who wrote the messages of a history's runs. Upstream: GET responses/{r} for unknown ones."""
        rounds = (self.of_run(first_id, history) for first_id in history.run_ids)
        found: Authors = {}
        for result in await asyncio.gather(*rounds, return_exceptions=True):
            if isinstance(result, dict):
                found = result | found
            elif isinstance(result, UpstreamError):
                # The messages can be read without their run.
                _log.warning("run_of_messages_unknown", code=result.code)
            else:
                raise result
        return found

    async def of_run(self, first_id: str, history: RunHistory) -> Authors:
        """Return the same for one run, listed or not; a response that is gone upstream wrote nothing."""
        last_id = history.current_of(first_id)
        rounds = await rounds_until(last_id, self._read, lambda written: written.previous)
        if first_id not in rounds:
            rounds[first_id] = await self._read(first_id)
        return {
            item_id: Author(first_id, written.created_at)
            for written in rounds.values()
            for item_id in written.message_ids
        }

    def saw(self, response: Json) -> None:
        """Remember what a response wrote, if it has ended."""
        if response.get("status") not in LIVE:
            self._remember(response["id"], _written(response))

    def unknown(self, response_ids: Iterable[str]) -> list[str]:
        """Return those responses that may not have ended."""
        return [response_id for response_id in response_ids if response_id not in self._known]

    async def _read(self, response_id: str) -> _Written:
        known = self._known.get(response_id)
        if known is not None:
            self._known.move_to_end(response_id)
            return known
        try:
            response = await self.responses.get(response_id)
        except UpstreamMissingError:
            self._remember(response_id, _Written())
            return _Written()
        self.saw(response)
        return _written(response)

    def _remember(self, response_id: str, written: _Written) -> None:
        self._known[response_id] = written
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)


def _written(response: Json) -> _Written:
    messages = [item for item in response.get("output") or [] if item.get("type") == "message"]
    return _Written(
        RunRounds.read(response).previous,
        moment_of(response.get("created_at")),
        tuple(str(item.get("id")) for item in messages),
    )
