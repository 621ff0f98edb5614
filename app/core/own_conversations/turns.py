"""Turns on conversations that the service keeps: what goes upstream in their place, and what is stored."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
import structlog

from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.conversation_table import locked
from app.core.own_conversations.leases import HeldLeases
from app.core.own_conversations.recording import RecordedStream, Recorder
from app.core.own_conversations.turn_table import (
    Begun,
    Lease,
    StoredResponse,
    TurnEnd,
    TurnTable,
    UnsettledError,
)
from app.core.upstream.errors import (
    ToolOutputMissingError,
    UpstreamMissingError,
    UpstreamRefusedError,
)
from app.core.upstream.port import CallOptions, Upstream, UpstreamStream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.failures import code_of, failure_for
from app.translate.objects import LIVE
from app.translate.own_turns import (
    kept_items,
    origin_of,
    repeated_settings,
    stored_input,
    with_settings,
)
from app.translate.replay import (
    StoredItem,
    estimated_tokens,
    fitting,
    open_calls,
    repeated_answers,
    replayed,
    without_oldest_turns,
)
from app.translate.upstream_types import checked_response
from app.utils.ids import new_id

_log = structlog.get_logger(__name__)
T = TypeVar("T")
ENCRYPTED = "reasoning.encrypted_content"
"""The value of `include` for reasoning that the model can read again where nothing is stored."""

TOO_LONG = "context_length_exceeded"
_DEFAULT_COMPACT_TOKENS = 100_000
_COMPACT_SHARE = 0.8
_ROOM_SHARE = 0.75
"""How much of the model's window the history may fill; the rest is for instructions, tools and the answer."""


@dataclass(eq=False)
class Abilities:
    """What the upstream has refused; found out again after a restart."""

    takes_reasoning: bool = True
    compacts: bool = True


@dataclass(eq=False)
class Turn:
    """One turn: its lease, what the model is shown, and what the request added."""

    lease: Lease
    history: list[StoredItem]
    asked: list[Json]
    body: Json
    origin: str
    created_at: int
    hidden: int
    """How many older items no turn is shown any more."""

    response_id: str | None = None
    """The id of the response, once it exists."""

    dropped: int = 0
    """How many more of the oldest items the model is not shown."""

    @property
    def replayed_from(self) -> int | None:
        """The position of the first item that the model is shown, if some were dropped."""
        return self.history[0].position if self.dropped and self.history else None

    def drop_oldest(self) -> bool:
        """Drop the older half of the turns; return whether there was more than one."""
        rest = without_oldest_turns(self.history)
        return rest is not None and self.show(rest)

    def show(self, history: list[StoredItem]) -> bool:
        """Show the model less of the history; return whether that is less."""
        less = len(self.history) - len(history)
        self.history, self.dropped = history, self.dropped + less
        return less > 0


@dataclass(eq=False)
class Turns:
    """Makes turns upstream without `conversation`, and stores them.

    Args:
        upstream: the upstream without conversations.
        table: the turns in the store.
        leases: keeps the leases of this process alive.
        choice: what is known of the upstream.
        window_tokens: the size of the model's window; None if it is not known.
        deadline_seconds: how long a run may take.
        on_dropped: called with the number of items that a model was not shown for want of room.

    """

    upstream: Upstream
    table: TurnTable
    leases: HeldLeases
    choice: ConversationChoice
    window_tokens: int | None
    deadline_seconds: float
    on_dropped: Callable[[int], None]
    abilities: Abilities = field(default_factory=Abilities, init=False)

    async def complete(self, body: Json, options: CallOptions) -> bytes:
        """Make a turn and return its response; one in the upstream's background goes on."""
        turn = await self.begin(body)
        try:

            async def call(request: Json) -> bytes:
                return await self.upstream.request("POST", "/responses", **_with_body(options, request))

            response = parsed(await self.sent(turn, call), checked_response)
            if response.get("status") in LIVE:
                return orjson.dumps(await self.started(turn, response))
            return orjson.dumps(await self.ended(turn, response, []))
        finally:
            await self.leases.give_back(turn.lease)

    async def open(self, body: Json, options: CallOptions) -> UpstreamStream:
        """Make a turn and return its stream; it is stored before its last event is passed on."""
        turn = await self.begin(body)
        try:
            stream = await self.sent(turn, lambda request: self.opened(request, options))
        except BaseException:
            await self.leases.give_back(turn.lease)
            raise
        return RecordedStream(stream, TurnRecorder(self, turn))

    async def opened(self, request: Json, options: CallOptions) -> UpstreamStream:
        """Open the stream of a response."""
        return await self.upstream.stream("POST", "/responses", **_with_body(options, request))

    async def begin(self, body: Json) -> Turn:
        """Take the conversation's lease and read its items.

        Raises `ToolOutputMissingError` if a call would stay without an answer, as OpenAI does.
        """
        begun = await self._begun(str(body["conversation"]))
        asked, origin = stored_input(body.get("input")), origin_of(self.choice.url, body)
        turn = Turn(begun.lease, begun.history, asked, body, origin, int(time.time()), begun.hidden)
        self.leases.add(turn.lease)
        if (refusal := _refusal(turn)) is not None:
            await self.leases.give_back(turn.lease)
            raise refusal
        if self.window_tokens is not None:
            room = int(self.window_tokens * _ROOM_SHARE) - sum(map(estimated_tokens, turn.asked))
            turn.show(fitting(turn.history, room))
        return turn

    async def sent(self, turn: Turn, call: Callable[[Json], Awaitable[T]]) -> T:
        """Make the call of a turn; again with less where the upstream refuses what is not the client's."""
        while True:
            request = self.request(turn)
            try:
                found = await call(request)
            except UpstreamRefusedError as exc:
                if not self._can_mend(turn, request, exc):
                    raise
                continue
            if turn.dropped:
                self.on_dropped(turn.dropped)
            return found

    def request(self, turn: Turn) -> Json:
        """Return the body of a turn as the upstream gets it."""
        stores = self.choice.stores_responses
        body = {key: value for key, value in turn.body.items() if key != "conversation"}
        has_reasoning = self.abilities.takes_reasoning
        body["input"] = replayed(
            turn.history,
            turn.asked,
            origin=turn.origin,
            has_reasoning=has_reasoning,
            keeps_ids=stores is True,
        )
        if stores is False:
            body["store"] = False
        if stores is not True and has_reasoning and body.get("reasoning"):
            body["include"] = [*body.get("include", []), ENCRYPTED]
        size = sum(estimated_tokens(item.body) for item in turn.history)
        threshold = int((self.window_tokens or 0) * _COMPACT_SHARE) or _DEFAULT_COMPACT_TOKENS
        if self.abilities.compacts and size > threshold / 2:
            body["context_management"] = [{"type": "compaction", "compact_threshold": threshold}]
        return body

    async def started(self, turn: Turn, response: Json) -> Json:
        """Store a response that has begun, and return it as clients get it."""
        shown = self.shown(turn, response)
        until = time.time() + self.deadline_seconds if self.choice.stores_responses else None
        await self.table.started(turn.lease, shown, turn.asked, turn.origin, stored_until=until)
        if until is not None and shown.get("background"):
            # From now on the upstream works on it, and holds the lease.
            self.leases.discard(turn.lease)
        return shown

    async def ended(self, turn: Turn, response: Json, done: Sequence[Json]) -> Json:
        """Store a response that has ended, and return it as clients get it."""
        upstream_id, response = str(response["id"]), self.shown(turn, response)
        items = kept_items(response, done)
        response["output"] = items
        is_kept = response.get("status") in {"completed", "incomplete"}
        if (
            not is_kept
            and failure_for(code_of(response.get("error"))).code == TOO_LONG
            and turn.drop_oldest()
        ):
            _log.warning("history_too_long", dropped=turn.dropped)
        end = TurnEnd(
            response,
            turn.asked if is_kept else [],
            items if is_kept else [],
            origin=turn.origin,
            is_stored=self.choice.stores_responses is True,
            replayed_from=turn.replayed_from,
        )
        await self.table.end(turn.lease, end)
        self.leases.discard(turn.lease)
        if self.choice.stores_responses is None:
            await self.choice.learn_stores(self.upstream, upstream_id)
        return response

    def shown(self, turn: Turn, response: Json) -> Json:
        """Return a response with what the upstream does not know of it."""
        found = with_settings(response, repeated_settings(turn.body))
        if turn.response_id is None:
            # Only an upstream that stores responses needs its own ids, which may change on the way or repeat.
            is_theirs = self.choice.stores_responses
            turn.response_id = str(found["id"]) if is_theirs else new_id("resp")
        found["id"] = turn.response_id
        found["conversation"] = {"id": turn.lease.conversation_id}
        # Without a time, a run would count as expired.
        found["created_at"] = found.get("created_at") or turn.created_at
        found.pop("dropped_items", None)
        if turn.hidden or turn.dropped:
            found["dropped_items"] = turn.hidden + turn.dropped
        return found

    async def settle(self, response: StoredResponse) -> Json:
        """Return the state of a response that the upstream stores; store its turn if it has ended."""
        path = f"/responses/{response.id}"
        try:
            found = parsed(await self.upstream.request("GET", path), checked_response)
        except UpstreamMissingError:
            await self.table.expire(response)
            raise
        if found.get("status") not in LIVE:
            return await self.store(response, found, [])
        if not response.body.get("background") or time.time() > response.deadline:
            # Nobody follows it any more.
            await self.table.expire(response)
        return found | {"conversation": {"id": response.conversation_id}}

    async def store(self, response: StoredResponse, found: Json, done: Sequence[Json]) -> Json:
        """Store the turn of a response that has ended upstream, and return it as clients get it."""
        found = found | {"conversation": {"id": response.conversation_id}}
        is_kept = found.get("status") in {"completed", "incomplete"}
        items = kept_items(found, done) if is_kept else []
        end = TurnEnd(found, response.asked if is_kept else [], items, response.origin, is_stored=True)
        await self.table.end(response.lease, end)
        return found

    def following(self, response: StoredResponse, stream: UpstreamStream) -> UpstreamStream:
        """Return the stream of a response that the upstream works on, which stores the turn at its end."""
        return RecordedStream(stream, FollowedTurn(self, response))

    async def settle_all(self, conversation_id: str) -> None:
        """Store the turns of a conversation that have ended upstream."""
        for response in await self.table.live_responses(conversation_id):
            if response.body.get("background"):
                with suppress(UpstreamMissingError):
                    await self.settle(response)

    async def _begun(self, conversation_id: str) -> Begun:
        try:
            return await self.table.begin(conversation_id)
        except UnsettledError:
            for response in await self.table.live_responses(conversation_id):
                with suppress(UpstreamMissingError):
                    await self.settle(response)
        try:
            return await self.table.begin(conversation_id)
        except UnsettledError:
            raise locked() from None

    def _can_mend(self, turn: Turn, request: Json, exc: UpstreamRefusedError) -> bool:
        """Change what the next try sends; return whether there is anything to change."""
        if exc.code == TOO_LONG:
            return turn.drop_oldest()
        if not exc.is_plain:
            return False
        if "context_management" in request:
            self.abilities.compacts = False
            _log.warning("compaction_refused", code=exc.upstream_code)
            return True
        has_reasoning = ENCRYPTED in request.get("include", ()) or any(
            item.get("type") == "reasoning" for item in request["input"]
        )
        if not has_reasoning or not self.abilities.takes_reasoning:
            return False
        self.abilities.takes_reasoning = False
        _log.warning("reasoning_refused", code=exc.upstream_code)
        return True


def _refusal(turn: Turn) -> UpstreamRefusedError | None:
    """Return what OpenAI would answer to a turn that cannot be made."""
    if not turn.history and not turn.asked:
        return UpstreamRefusedError("The conversation is empty.", param="input")
    if open_calls(turn.history, turn.asked):
        return ToolOutputMissingError("A tool call of an earlier turn was never answered.")
    if repeated_answers(turn.history, turn.asked):
        # Another replica was faster with the same outputs.
        return UpstreamRefusedError("A tool call has been answered already.", param="input")
    return None


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
