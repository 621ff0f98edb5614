"""Turns that take the place of the last ones of a thread: these are deleted, and come back on failure."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from app.core.caller import RequestScope
from app.core.config import OnDisconnect
from app.core.errors import BadRequestError, NotFoundError, ServiceError, not_found
from app.core.runs.create import RunCreator
from app.core.runs.follow import FollowedRun
from app.core.runs.replacing_run import ReplacingRun
from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.conversations import ITEMS_PER_CALL, Conversations
from app.core.upstream.errors import (
    ConversationLockedError,
    UpstreamMissingError,
    UpstreamRefusedError,
    not_found_as,
)
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.replaced_items import (
    WHOLE,
    common_length,
    forms_to_put_back,
    is_question,
    mark_of,
    own_items,
)

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory

_log = structlog.get_logger(__name__)
_MOST_ITEMS = 500
"""How many items a turn may replace; every one is a call upstream."""

_WAIT_SECONDS = 10.0
"""How long the answer to a request that failed waits until its thread is as it was."""

_PAUSES_SECONDS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(eq=False)
class ReplacedTurn:
    """The end of a conversation that a turn replaces.

    Args:
        conversation_id: the upstream conversation.
        after: the id of the item before it; None if it begins the conversation.
        items: its items as the upstream has them, oldest first; the first one is a user's message.

    """

    conversation_id: str
    after: str | None
    items: list[Json]
    asked: list[Json] = field(default_factory=list, init=False)
    """The input of the turn that replaces it."""

    is_touched: bool = field(default=False, init=False)
    """Whether anything may have been changed upstream."""

    @property
    def mark(self) -> Json:
        """What is added to find out whether somebody else writes to the conversation."""
        return mark_of(self.items[0])

    @property
    def questions(self) -> list[Json]:
        """The messages of the user that belong to this turn or to the one that replaces it."""
        return [self.mark, *filter(is_question, [*self.items, *self.asked])]


@dataclass(eq=False)
class ReplacedTurns:
    """Finds and deletes the end of a conversation, asks anew, and puts the items back if that fails."""

    conversations: Conversations
    lock: ConversationLock
    creator: RunCreator
    directory: "ThreadDirectory | None" = None

    async def find(self, conversation_id: str, item_id: str) -> ReplacedTurn:
        """Return the turn of a message and all that follows it; a turn begins with a user's message.

        Upstream: GET conversations/{c}/items. Raises `NotFoundError` if no message of the conversation has
        this id, and `BadRequestError` if too much or no question would be replaced.
        """
        return await self._found(
            conversation_id, lambda item: item.get("id") == item_id and item.get("type") == "message"
        )

    async def find_answer(
        self, scope: RequestScope, conversation_id: str, message_id: str | None
    ) -> ReplacedTurn | None:
        """Return the turn of an answer that a frontend of the AI SDK names, None if it is not there.

        `message_id` is the answer's own, or that of its run as `AiSdkEncoder` tells it; None is the last one.
        Upstream: GET responses/{r} and conversations/{c}/items.
        """
        ids = None if message_id is None else await self._named(scope, message_id)
        try:
            return await self._found(conversation_id, lambda item: ids is None or item.get("id") in ids)
        except (NotFoundError, BadRequestError):
            return None

    async def _named(self, scope: RequestScope, message_id: str) -> list[str]:
        """Return the id of the item that is meant, and those of the run that a message is named after."""
        found: list[str] = []
        with suppress(NotFoundError):
            found.append(scope.item(message_id))
        with suppress(NotFoundError, UpstreamMissingError, UpstreamRefusedError):
            response_id = scope.response(f"run_{message_id.removeprefix('msg_')}")
            response = await self.creator.responses.get(response_id)
            found += [str(item.get("id")) for item in response.get("output") or []]
        return found

    async def _found(self, conversation_id: str, is_named: Callable[[Json], bool]) -> ReplacedTurn:
        with not_found_as("thread"):
            try:
                return await self._find(conversation_id, is_named, WHOLE)
            except UpstreamRefusedError:
                # Not every upstream knows all names of `include`.
                return await self._find(conversation_id, is_named, ())

    async def open(
        self,
        scope: RequestScope,
        context: RunContext,
        params: Json,
        turn: ReplacedTurn,
        *,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        """Delete a turn, ask anew and return the stream; on failure the thread is as before.

        Upstream: POST conversations/{c}/items, GET …/items, DELETE …/items/{i} for each, POST responses.
        Raises `ConversationLockedError` if others write to the thread.
        """
        # Before anything is deleted, as most refusals of a turn come from here.
        await self.creator.budgets.check(scope, params)
        turn.asked = params["input"]
        return await self.creator.uncut(
            self._opened(scope, context, params, turn, on_disconnect), on_disconnect
        )

    async def _find(
        self, conversation_id: str, is_named: Callable[[Json], bool], include: Sequence[str]
    ) -> ReplacedTurn:
        newest: list[Json] = []
        is_found = is_whole = False
        items = self.conversations.items(conversation_id, most=_MOST_ITEMS + 1, include=include)
        async for item in items:
            if is_whole:
                return ReplacedTurn(conversation_id, str(item.get("id")), newest[::-1])
            newest.append(item)
            is_found = is_found or is_named(item)
            is_whole = is_found and is_question(item)
        if is_whole:
            return ReplacedTurn(conversation_id, None, newest[::-1])
        if len(newest) > _MOST_ITEMS:
            raise BadRequestError(
                f"More than {_MOST_ITEMS} items would be replaced. Name a later message.",
                param="replaces",
                code="too_much_replaced",
            )
        if not is_found:
            raise not_found("message", param="replaces")
        raise BadRequestError(
            "No question comes before this message. Name a later one.", param="replaces", code="no_question"
        )

    async def _opened(
        self,
        scope: RequestScope,
        context: RunContext,
        params: Json,
        turn: ReplacedTurn,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        restore = partial(self._restore, turn)
        try:
            async with self.lock.holding(turn.conversation_id):
                await self._delete(turn)
                stream = await self.creator.open(
                    scope, context, params, on_disconnect=on_disconnect, is_listed=False
                )
        except BaseException:
            await restore()
            raise
        return ReplacingRun(stream, restore, partial(self._replaced, turn))

    async def _delete(self, turn: ReplacedTurn) -> None:
        """Delete a turn unless somebody writes to the conversation, or has done so since it was found."""
        async with self.creator.rounds.tool_leases.holding_alone(turn.conversation_id):
            mark = await self._marked(turn)
            last = [item async for item in self.conversations.items(turn.conversation_id, most=2)][1:]
            if [item.get("id") for item in last] != [turn.items[-1].get("id")]:
                await self.conversations.delete_items(turn.conversation_id, [mark])
                turn.is_touched = False
                raise ConversationLockedError("The thread has gone on meanwhile. Read it, then retry.")
            newest = [str(item.get("id")) for item in reversed(turn.items)]
            await self.conversations.delete_items(turn.conversation_id, [mark, *newest])

    async def _marked(self, turn: ReplacedTurn) -> str:
        """Add the question's text once more, and return the id of that item.

        Deleting may not respect the lock of a run, adding does.
        """
        add = partial(self.conversations.append, turn.conversation_id, [turn.mark])
        try:
            added = await self.lock.write(turn.conversation_id, add)
        except UpstreamRefusedError:
            raise
        except BaseException:
            turn.is_touched = True
            raise
        turn.is_touched = True
        return str(added[0].get("id"))

    def _replaced(self, turn: ReplacedTurn) -> None:
        """Note a new first question, which a thread's title may come from."""
        if turn.after is None and self.directory is not None:
            self.directory.asked_anew(turn.conversation_id, turn.items[:1], turn.asked)

    async def _restore(self, turn: ReplacedTurn) -> None:
        """Put a turn back before anybody else writes; wait, bounded, until it is there."""
        if turn.is_touched:
            # After the messages of the stopped turn are kept, which happens in the same way: they go again.
            task = self.lock.hold(turn.conversation_id, self._put_back(turn))
            await asyncio.wait([task], timeout=_WAIT_SECONDS)

    async def _put_back(self, turn: ReplacedTurn) -> None:
        # Results of tools that the failed run still waits for would come after its calls are gone.
        with suppress(ConversationLockedError):
            await self.creator.rounds.tool_leases.wait(turn.conversation_id)
        code: str | None = None
        for pause in _PAUSES_SECONDS:
            try:
                await self._put_back_once(turn)
            except ServiceError as exc:
                code = exc.code
            else:
                return
            await asyncio.sleep(pause)
        _log.error("replaced_turn_lost", code=code, items=len(turn.items))

    async def _put_back_once(self, turn: ReplacedTurn) -> None:
        """Delete what the failed turn has left, and add what is missing of the one before it."""
        present = await self._present(turn)
        length = common_length(present, turn.items)
        strays = [str(item.get("id")) for item in own_items(present[length:], turn.questions)]
        await self.conversations.delete_items(turn.conversation_id, strays)
        missing = turn.items[length:]
        for start in range(0, len(missing), ITEMS_PER_CALL):
            await self._add(turn.conversation_id, missing[start : start + ITEMS_PER_CALL])

    async def _present(self, turn: ReplacedTurn) -> list[Json]:
        """Return what comes after the items that stayed."""
        items = self.conversations.items(
            turn.conversation_id, order="asc", after=turn.after, most=2 * _MOST_ITEMS
        )
        try:
            return [item async for item in items]
        except (UpstreamMissingError, UpstreamRefusedError):
            # Somebody has deleted the item before: whatever else is there stays.
            return []

    async def _add(self, conversation_id: str, items: list[Json]) -> None:
        """Add items in the most exact form that the upstream takes."""
        refusal: UpstreamRefusedError | UpstreamMissingError | None = None
        for form in forms_to_put_back(items):
            try:
                if form:
                    await self.conversations.append(conversation_id, form)
            except ConversationLockedError:
                raise
            except (UpstreamRefusedError, UpstreamMissingError) as exc:
                refusal = exc
            else:
                if len(form) < len(items):
                    _log.warning("replaced_items_lost", items=len(items) - len(form))
                return
        if refusal is not None:
            raise refusal
