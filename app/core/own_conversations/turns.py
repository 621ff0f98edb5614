"""Turns on conversations that the service keeps: begun, sent upstream and stored."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson
import structlog

from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.conversation_table import locked
from app.core.own_conversations.leases import HeldLeases
from app.core.own_conversations.recording import RecordedStream, Recorder
from app.core.own_conversations.turn_records import Begun, StoredResponse, TurnEnd, UnsettledError
from app.core.own_conversations.turn_requests import Turn, TurnRequests
from app.core.own_conversations.turn_table import TurnTable
from app.core.upstream.errors import UpstreamError, UpstreamMissingError
from app.core.upstream.port import CallOptions, Upstream, UpstreamStream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.moderation import is_input_blocked
from app.translate.objects import LIVE
from app.translate.own_turns import kept_items, origin_of, repeated_settings, stored_input, with_settings
from app.translate.upstream_types import checked_response
from app.utils.ids import new_id

_log = structlog.get_logger(__name__)
_KEPT = frozenset({"completed", "incomplete"})
"""The statuses of responses whose turn joins the conversation, as at OpenAI."""


@dataclass(eq=False)
class Turns:
    """Makes turns upstream without `conversation`, and stores them.

    Args:
        upstream: the upstream without conversations.
        table: the turns in the store.
        leases: keeps the leases of this process alive.
        choice: what is known of the upstream.
        requests: builds and sends what goes upstream.
        deadline_seconds: how long a run may take.

    """

    upstream: Upstream
    table: TurnTable
    leases: HeldLeases
    choice: ConversationChoice
    requests: TurnRequests
    deadline_seconds: float

    async def complete(self, body: Json, options: CallOptions) -> bytes:
        """Make a turn and return its response; one in the upstream's background goes on."""
        turn = await self.begin(body)

        async def call(request: Json) -> bytes:
            return await self.upstream.request("POST", "/responses", **_with_body(options, request))

        try:
            response = parsed(await self.requests.send(turn, call), checked_response)
            if response.get("status") in LIVE:
                return orjson.dumps(await self.started(turn, response))
            return orjson.dumps(await self.ended(turn, response, []))
        finally:
            await self.leases.give_back(turn.lease)

    async def open(self, body: Json, options: CallOptions) -> UpstreamStream:
        """Make a turn and return its stream; it is stored before its last event is passed on."""
        turn = await self.begin(body)
        return RecordedStream(await self.opened(turn, options), TurnRecorder(self, turn))

    async def opened(self, turn: Turn, options: CallOptions, **changes: object) -> UpstreamStream:
        """Open the stream of a turn, with changes of its body; without one, the lease is given back."""

        async def call(request: Json) -> UpstreamStream:
            given = _with_body(options, request | changes)
            return await self.upstream.stream("POST", "/responses", **given)

        try:
            return await self.requests.send(turn, call)
        except BaseException:
            await self.leases.give_back(turn.lease)
            raise

    async def begin(self, body: Json) -> Turn:
        """Take the conversation's lease and read its items.

        Raises `ToolOutputMissingError` if a call would stay without an answer, as OpenAI does.
        """
        begun = await self._begun(str(body["conversation"]))
        turn = Turn(
            begun.lease,
            begun.history,
            stored_input(body.get("input")),
            body,
            origin_of(self.choice.url, body),
            int(time.time()),
            self.choice.stores_responses is True,
            begun.hidden,
        )
        self.leases.add(turn.lease)
        if (refusal := turn.refusal()) is not None:
            await self.leases.give_back(turn.lease)
            raise refusal
        self.requests.fit(turn)
        return turn

    async def started(self, turn: Turn, response: Json) -> Json:
        """Store a response that has begun, and return it as clients get it."""
        shown = self.shown(turn, response)
        until = time.time() + self.deadline_seconds if turn.is_stored else None
        await self.table.started(turn.lease, shown, turn.kept, turn.origin, stored_until=until)
        if until is not None and shown.get("background"):
            # From now on the upstream works on it, and holds the lease.
            self.leases.discard(turn.lease)
        return shown

    async def ended(self, turn: Turn, response: Json, done: Sequence[Json]) -> Json:
        """Store a response that has ended, and return it as clients get it.

        `done` are the items that its stream told of.
        """
        upstream_id, response = str(response["id"]), self.shown(turn, response)
        response["output"] = kept_items(response, done)
        if self.requests.is_too_long(response) and turn.drop_oldest():
            # Too late for this turn, whose stream has begun.
            _log.warning("history_too_long", dropped=turn.dropped)
        end = _turn_end(response, turn.kept, turn.origin, turn.replayed_from, is_stored=turn.is_stored)
        await self.table.end(turn.lease, end)
        self.leases.discard(turn.lease)
        await self.choice.learn_stores(self.upstream, upstream_id)
        return response

    def shown(self, turn: Turn, response: Json) -> Json:
        """Return a response with what the upstream does not know of it."""
        found = with_settings(response, repeated_settings(turn.body))
        if turn.response_id is None:
            # Only an upstream that stores responses needs its own ids, which may change on the way or repeat.
            turn.response_id = str(found["id"]) if turn.is_stored else new_id("resp")
        found["id"] = turn.response_id
        found["conversation"] = {"id": turn.lease.conversation_id}
        # Without a time, a run would count as expired.
        found["created_at"] = found.get("created_at") or turn.created_at
        found.pop("dropped_items", None)
        if turn.hidden or turn.dropped:
            found["dropped_items"] = turn.hidden + turn.dropped
        return found

    async def settle(self, response: StoredResponse, *, is_abandoned: bool = False) -> Json:
        """Return the state of a response that the upstream stores; store its turn if it has ended.

        One that is abandoned and still not at its end expires: nobody would store what it says.
        """
        path = f"/responses/{response.id}"
        try:
            found = parsed(await self.upstream.request("GET", path), checked_response)
        except UpstreamMissingError:
            # Some servers store a response only when it has ended: a process may still read its stream.
            await self.table.expire(response)
            if not (body := (await self.table.known_response(response.id)).body):
                raise
            return body
        if found.get("status") not in LIVE:
            return await self.store(response, found, [])
        if is_abandoned and (not response.body.get("background") or time.time() > response.deadline):
            with suppress(UpstreamError):
                await self.upstream.request("POST", f"{path}/cancel")
            await self.table.expire(response)
        return found | {"conversation": {"id": response.conversation_id}}

    async def store(self, response: StoredResponse, found: Json, done: Sequence[Json]) -> Json:
        """Store the turn of a response that has ended upstream, and return it as clients get it."""
        found = found | {"conversation": {"id": response.conversation_id}}
        end = _turn_end(
            found | {"output": kept_items(found, done)}, response.asked, response.origin, None, is_stored=True
        )
        await self.table.end(response.lease, end)
        return found

    def following(self, response: StoredResponse, stream: UpstreamStream) -> UpstreamStream:
        """Return the stream of a response that the upstream works on, which stores the turn at its end."""
        return RecordedStream(stream, FollowedTurn(self, response))

    async def settle_all(self, conversation_id: str, *, is_abandoned: bool = False) -> None:
        """Store the turns of a conversation that have ended upstream."""
        for response in await self.table.unread_responses(conversation_id):
            with suppress(UpstreamMissingError):
                await self.settle(response, is_abandoned=is_abandoned)

    async def _begun(self, conversation_id: str) -> Begun:
        try:
            return await self.table.begin(conversation_id)
        except UnsettledError:
            await self.settle_all(conversation_id, is_abandoned=True)
        try:
            return await self.table.begin(conversation_id)
        except UnsettledError:
            raise locked() from None


def _turn_end(
    response: Json, asked: Sequence[Json], origin: str, replayed_from: int | None, *, is_stored: bool
) -> TurnEnd:
    # A message that was blocked would be shown to the model, and blocked, with every later turn.
    is_kept = response.get("status") in _KEPT and not is_input_blocked(response)
    answered = response["output"] if is_kept else []
    return TurnEnd(response, asked if is_kept else [], answered, origin, is_stored, replayed_from)


def _with_body(options: CallOptions, body: Json) -> CallOptions:
    return {**options, "body": body}


class TurnRecorder(Recorder):
    """Stores the turn of a foreground stream."""

    def __init__(self, turns: Turns, turn: Turn) -> None:
        self._turns = turns
        self._turn = turn
        self._is_over = False

    async def began(self, response: Json) -> Json:
        """Store the response, so that it can be read while it is written."""
        if self._turn.response_id is not None:
            return self._turns.shown(self._turn, response)
        return await self._turns.started(self._turn, response)

    async def ended(self, response: Json, items: list[Json]) -> Json:
        """Store the turn."""
        shown = await self._turns.ended(self._turn, response, items)
        self._is_over = True
        return shown

    async def closed(self) -> None:
        """Give the conversation back if the turn was cut off; `StoppedTurns` stores what is kept of it."""
        if not self._is_over:
            self._is_over = True
            await self._turns.leases.give_back(self._turn.lease, response_id=self._turn.response_id)


class FollowedTurn(Recorder):
    """Stores the turn of a response that the upstream works on, when a stream tells its end."""

    def __init__(self, turns: Turns, response: StoredResponse) -> None:
        self._turns = turns
        self._response = response

    async def began(self, response: Json) -> Json:
        """Name the conversation."""
        return response | {"conversation": {"id": self._response.conversation_id}}

    async def ended(self, response: Json, items: list[Json]) -> Json:
        """Store the turn."""
        return await self._turns.store(self._response, response, items)

    async def closed(self) -> None:
        """Leave the response to the upstream."""
