"""Keeps the messages of stopped turns: upstreams store a foreground turn only when it completes."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from app.core.errors import ServiceError
from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import ITEMS_PER_CALL, Conversations
from app.core.upstream.errors import ConversationLockedError, UpstreamRefusedError
from app.translate.events import Json
from app.utils.ids import created_at_of

_log = structlog.get_logger(__name__)
_LOCKED_SECONDS = 15.0
"""How long the upstream may keep the conversation locked after a turn was stopped."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_NEWEST_ITEMS = 20
_CLOCK_SKEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
class StoppedTurn:
    """A foreground turn that ended before its response did.

    Args:
        conversation_id: the upstream conversation of the turn.
        began_at: unix time of its request.
        question: the input messages, in the upstream's form.
        answer: the assistant's messages so far, with their upstream ids.
        run: the id of the run's first response and the run's status; None if no run is known.

    """

    conversation_id: str
    began_at: float
    question: list[Json]
    answer: list[Json]
    run: tuple[str, str] | None = None


@dataclass(eq=False)
class StoppedTurns:
    """Appends the messages of stopped turns to their conversations, before the next turn there starts.

    Turns on other replicas wait only with Redis. Without it another writer may come first; then the
    conversation is left as it is.
    """

    conversations: Conversations
    metadata: ConversationMetadata
    lock: ConversationLock

    def keep(self, turn: StoppedTurn) -> None:
        """Append the missing messages of a turn, in the background."""
        self.lock.hold(turn.conversation_id, self._keep(turn))

    async def wait(self, conversation_id: str) -> None:
        """Wait until all stopped turns of the conversation are kept."""
        await self.lock.wait(conversation_id)

    async def _keep(self, turn: StoppedTurn) -> None:
        try:
            await self._append_missing(turn)
            if turn.run is not None:
                first_id, status = turn.run
                await self.metadata.note(
                    turn.conversation_id, lambda history: history.set_ended(first_id, status)
                )
        except ServiceError as exc:
            _log.warning("stopped_turn_not_kept", code=exc.code)

    async def _append_missing(self, turn: StoppedTurn) -> None:
        """Append the missing messages unless the conversation has gone on since the turn."""
        if not turn.question and not turn.answer:
            return
        deadline = asyncio.get_running_loop().time() + _LOCKED_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        # To find out whether another writer has added something: the upstream has no conditional write.
        began_after = _item_before(turn, await self._newest(turn.conversation_id))
        while True:
            # The upstream may still be storing what it keeps of the turn itself.
            await asyncio.sleep(pause)
            newest = await self._newest(turn.conversation_id)
            if not (missing := missing_items(turn, newest)):
                return
            if _item_before(turn, newest) != began_after:
                _log.warning("stopped_turn_not_kept", code="thread_went_on")
                return
            try:
                await self._append(turn.conversation_id, missing)
            except ConversationLockedError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                return
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _append(self, conversation_id: str, items: list[Json]) -> None:
        for start in range(0, len(items), ITEMS_PER_CALL):
            some = items[start : start + ITEMS_PER_CALL]
            try:
                await self.conversations.append(conversation_id, some)
            except ConversationLockedError:
                raise
            except UpstreamRefusedError:
                # Not every upstream accepts a message with a status.
                plain = [{key: value for key, value in item.items() if key != "status"} for item in some]
                await self.conversations.append(conversation_id, plain)

    async def _newest(self, conversation_id: str) -> list[Json]:
        """Return the newest items, newest first."""
        return [item async for item in self.conversations.items(conversation_id, most=_NEWEST_ITEMS)]


def missing_items(turn: StoppedTurn, newest: list[Json]) -> list[Json]:
    """Return the messages of a stopped turn that are not among a conversation's `newest` items."""
    known = {item.get("id") for item in newest}
    if any(item.get("id") in known for item in turn.answer):
        # The upstream completed the turn after all.
        return []
    question = [] if _holds_question(turn, newest) else turn.question
    return [*question, *(_as_input(item) for item in turn.answer if _text_of(item))]


def _holds_question(turn: StoppedTurn, newest: list[Json]) -> bool:
    """Return whether the conversation has the turn's last question, and not just the same text from before.

    The time in the item's id tells; without one, the item counts only if no message follows it.
    """
    messages = [item for item in newest if item.get("type") == "message"]
    at = next((at for at, item in enumerate(messages) if item.get("role") == "user"), None)
    if not turn.question or at is None or _text_of(messages[at]) != _text_of(turn.question[-1]):
        return False
    moment = created_at_of(str(messages[at].get("id")))
    return at == 0 if moment is None else moment >= turn.began_at - _CLOCK_SKEW_SECONDS


def _as_input(item: Json) -> Json:
    text = {"type": "output_text", "text": _text_of(item), "annotations": []}
    return {
        "type": "message",
        "role": "assistant",
        "status": item.get("status") or "incomplete",
        "content": [text],
    }


def _text_of(item: Json) -> str:
    content = item.get("content")
    parts: Iterable[object] = content if isinstance(content, list) else ()
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _item_before(turn: StoppedTurn, newest: list[Json]) -> object:
    """Return the id of the newest item before the turn, whose question the upstream may have stored."""
    at = 0
    for said in reversed(turn.question):
        if at < len(newest) and newest[at].get("role") == "user" and _text_of(newest[at]) == _text_of(said):
            at += 1
    return newest[at].get("id") if at < len(newest) else None
