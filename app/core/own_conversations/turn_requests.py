"""What a turn sends upstream in place of its conversation, and what it leaves out where that is refused."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import structlog

from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.turn_records import Lease
from app.core.upstream.errors import ToolOutputMissingError, UpstreamMissingError, UpstreamRefusedError
from app.core.upstream.optional_fields import field_of
from app.translate.events import Json
from app.translate.failures import code_of, failure_for
from app.translate.inline_files import without_files
from app.translate.replay import (
    StoredItem,
    estimated_tokens,
    fitting,
    open_calls,
    repeated_answers,
    replayed,
    without_oldest_turns,
)

_log = structlog.get_logger(__name__)
T = TypeVar("T")
Optional = Literal["compaction", "reasoning", "store"]
"""What the service adds to a request, and not every upstream takes."""

_ENCRYPTED = "reasoning.encrypted_content"
"""The value of `include` for reasoning that the model can read again where nothing is stored."""

_NOT_READABLE = "invalid_encrypted_content"
_TOO_LONG = "context_length_exceeded"
_ROOM_SHARE = 0.75
"""How much of the model's window the history may fill; the rest is for instructions, tools and the answer."""


@dataclass(eq=False)
class Turn:
    """One turn: its lease, what the model is shown, and what the request added."""

    lease: Lease
    history: list[StoredItem]
    asked: list[Json]
    body: Json
    origin: str
    created_at: int
    is_stored: bool
    """Whether the upstream stores the response."""

    hidden: int
    """How many older items no turn is shown any more."""

    response_id: str | None = None
    """The id of the response, once it exists."""

    dropped: int = 0
    """How many more of the oldest items the model is not shown."""

    left_out: set[Optional] = field(default_factory=set)

    @property
    def kept(self) -> list[Json]:
        """What the store keeps of what the request added."""
        return [without_files(item) for item in self.asked]

    @property
    def replayed_from(self) -> int | None:
        """The position of the first item that the model is shown, if some were dropped."""
        return self.history[0].position if self.dropped and self.history else None

    @property
    def may_drop(self) -> bool:
        """Whether the model may be shown less than the whole history."""
        return bool(self.body.get("truncation") != "disabled")

    def drop_oldest(self) -> bool:
        """Drop the older half of the turns; return whether there was more than one, and that may be done."""
        rest = without_oldest_turns(self.history) if self.may_drop else None
        if rest is not None:
            self.show(rest)
        return rest is not None

    def show(self, history: list[StoredItem]) -> None:
        """Show the model this end of the history only."""
        self.dropped += len(self.history) - len(history)
        self.history = history

    def refusal(self) -> UpstreamRefusedError | None:
        """Return what OpenAI would answer to a turn that cannot be made, else None."""
        if not self.history and not self.asked:
            return UpstreamRefusedError("The conversation is empty.", param="input")
        if open_calls(self.history, self.asked):
            return ToolOutputMissingError("A tool call of an earlier turn was never answered.")
        if repeated_answers(self.history, self.asked):
            # Another replica was faster with the same outputs.
            return UpstreamRefusedError("A tool call has been answered already.", param="input")
        return None


@dataclass(eq=False)
class TurnRequests:
    """Builds the requests of turns and sends them.

    What the upstream has refused is left out from then on, until a restart.

    Args:
        choice: what is known of the upstream.
        window_tokens: the size of the model's window; None if it is not known.
        on_dropped: called with the number of items that a model was not shown for want of room.

    """

    choice: ConversationChoice
    window_tokens: int | None
    on_dropped: Callable[[int], None]
    _left_out: set[Optional] = field(default_factory=set, init=False)

    def fit(self, turn: Turn) -> None:
        """Show the model no more of the history than its window has room for, where that is known."""
        if self.window_tokens is not None and turn.may_drop:
            room = int(self.window_tokens * _ROOM_SHARE) - sum(map(estimated_tokens, turn.asked))
            turn.show(fitting(turn.history, room))

    async def send(self, turn: Turn, call: Callable[[Json], Awaitable[T]]) -> T:
        """Make the call of a turn; again with less where the upstream refuses what is not the client's."""
        refused: set[Optional] = set()
        while True:
            request = self._request(turn)
            try:
                found = await call(request)
            except (UpstreamRefusedError, UpstreamMissingError) as exc:
                if isinstance(exc, UpstreamRefusedError) and exc.code == _TOO_LONG:
                    if not turn.drop_oldest():
                        raise
                elif (name := _to_leave_out(request, exc, is_stored=turn.is_stored)) is None:
                    raise
                else:
                    turn.left_out.add(name)
                    if isinstance(exc, UpstreamRefusedError) and exc.upstream_code != _NOT_READABLE:
                        refused.add(name)
                continue
            self._learn(refused)
            if turn.dropped:
                self.on_dropped(turn.dropped)
            return found

    def is_too_long(self, response: Json) -> bool:
        """Return whether a response failed because the history does not fit into the model's window."""
        return failure_for(code_of(response.get("error"))).code == _TOO_LONG

    def _request(self, turn: Turn) -> Json:
        left_out = self._left_out | turn.left_out
        has_reasoning = "reasoning" not in left_out
        body = {key: value for key, value in turn.body.items() if key != "conversation"}
        how = {"has_reasoning": has_reasoning, "keeps_ids": turn.is_stored}
        body["input"] = replayed(turn.history, turn.asked, origin=turn.origin, **how)
        if self.choice.stores_responses is False or "store" in left_out:
            body["store"] = False
        if not turn.is_stored and has_reasoning and body.get("reasoning"):
            body["include"] = [*body.get("include", []), _ENCRYPTED]
        if "compaction" in left_out or not _may_soon_compact(body, turn):
            # Not every upstream takes it, so it is sent only where it may be needed.
            body.pop("context_management", None)
        return body

    def _learn(self, refused: set[Optional]) -> None:
        """Leave out from now on what was the cause of a refusal, as the request without it was taken."""
        if refused - self._left_out:
            self._left_out |= refused
            _log.warning("upstream_refuses", what=sorted(refused))


def _may_soon_compact(body: Json, turn: Turn) -> bool:
    """Return whether the history may come to the threshold of the request to shorten it upstream."""
    thresholds = [rule["compact_threshold"] for rule in body.get("context_management") or []]
    size = sum(estimated_tokens(item.body) for item in turn.history)
    return any(size >= threshold / 2 for threshold in thresholds)


def _to_leave_out(
    request: Json, exc: UpstreamRefusedError | UpstreamMissingError, *, is_stored: bool
) -> Optional | None:
    """Return what may be the cause of a refusal, and was not the client's wish."""
    has_reasoning = _ENCRYPTED in request.get("include", ()) or any(
        item.get("type") == "reasoning" for item in request["input"]
    )
    if isinstance(exc, UpstreamMissingError):
        # The upstream keeps the items of its responses for a month.
        return "reasoning" if has_reasoning and exc.kinds & {"item", "response"} else None
    named = field_of(exc.param) if exc.param else None
    if not exc.is_plain or named not in {None, "context_management"}:
        return None
    if "context_management" in request and exc.upstream_code != _NOT_READABLE:
        return "compaction"
    if has_reasoning:
        return "reasoning"
    # OpenRouter, for one, refuses to be asked to store.
    return "store" if request.get("store") and not is_stored else None
