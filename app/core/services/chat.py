"""Chat turns: a thread, a message and a run in one call."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.caller import RequestScope
from app.core.config import OnDisconnect, Settings
from app.core.errors import BadRequestError, ConflictError
from app.core.runs.create import RunCreator
from app.core.runs.follow import FollowedRun
from app.core.runs.params import RunParams, turn_body
from app.core.runs.replaced_turns import ReplacedTurn, ReplacedTurns
from app.core.safety.intake import Intake
from app.core.services.runs import Runs
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import ConversationLockedError
from app.models.chat import ChatRequest
from app.models.runs import ToolOutputsSubmit
from app.translate.attachments import Attached, with_files
from app.translate.chat_input import history_items, last_user_items
from app.translate.context import RunContext
from app.translate.events import Json, RunEnded, StreamFailed
from app.translate.replaced_items import is_question, question_input, with_files_of


@dataclass(eq=False)
class Chat:
    """The service behind `/chat` and `/ag-ui`; every turn is a run."""

    conversations: Conversations
    creator: RunCreator
    runs: Runs
    params: RunParams
    settings: Settings
    replaced: ReplacedTurns
    intake: Intake | None = None

    async def answer(
        self,
        scope: RequestScope,
        body: ChatRequest,
        files: Sequence[Attached] = (),
        *,
        on_disconnect: OnDisconnect,
    ) -> RunEnded | StreamFailed:
        """Carry out a turn with the uploaded `files` and return its end.

        Upstream: POST conversations for a new thread, then POST responses: a plain one where the run may end
        with its client, else a background stream.
        """
        is_plain = body.tool_outputs is None and body.replaces is None
        is_plain = is_plain and (body.messages is None or not body.regenerates)
        if is_plain and on_disconnect not in self.creator.mode.streams:
            before, items = self._turn(scope, body, files)
            context, params = await self._prepared(scope, body.thread_id, before, items)
            with _busy_as_conflict():
                return await self.creator.complete(scope, context, params)
        stream = await self.open(scope, body, files, on_disconnect=on_disconnect)
        try:
            ended = await _last_event(stream)
        except asyncio.CancelledError:
            # The client has left: its request ends now, and the run is dealt with in the background.
            self.creator.leave_soon(stream, on_disconnect)
            raise
        except BaseException:
            await stream.aclose()
            raise
        await stream.aclose()
        return ended

    async def open(
        self,
        scope: RequestScope,
        body: ChatRequest,
        files: Sequence[Attached] = (),
        *,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        """Start a turn with the uploaded `files` and return its stream.

        Upstream: POST conversations for a new thread, POST responses.
        """
        if body.tool_outputs is not None and body.run_id and body.thread_id:
            outputs = ToolOutputsSubmit.model_construct(tool_outputs=body.tool_outputs)
            with _busy_as_conflict():
                return await self.runs.submit_stream(
                    scope, body.thread_id, body.run_id, outputs, on_disconnect=on_disconnect
                )
        is_replacing = body.replaces is not None or (body.messages is not None and body.regenerates)
        if is_replacing and body.thread_id is not None:
            turn = await self._replaced_turn(scope, body, body.thread_id)
            if turn is not None:
                return await self._open_replacing(scope, body, turn, files, on_disconnect=on_disconnect)
        before, items = self._turn(scope, body, files)
        return await self.open_turn(scope, body.thread_id, before, items, on_disconnect=on_disconnect)

    async def open_turn(
        self,
        scope: RequestScope,
        thread_id: str | None,
        before: list[Json],
        items: list[Json],
        *,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        """Start a turn from input items; a new thread begins with the items in `before`."""
        context, params = await self._prepared(scope, thread_id, before, items)
        with _busy_as_conflict():
            return await self.creator.open(
                scope, context, params, on_disconnect=on_disconnect, is_listed=False
            )

    async def _replaced_turn(
        self, scope: RequestScope, body: ChatRequest, thread_id: str
    ) -> ReplacedTurn | None:
        """Return the turn that a request replaces; None if a frontend names an answer that is not known."""
        conversation_id = scope.conversation(thread_id)
        if body.replaces is None:
            return await self.replaced.find_answer(scope, conversation_id, body.frontend_message_id)
        return await self.replaced.find(conversation_id, scope.item(body.replaces, "replaces"))

    async def _open_replacing(
        self,
        scope: RequestScope,
        body: ChatRequest,
        turn: ReplacedTurn,
        files: Sequence[Attached],
        *,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        """Start a turn in the place of another one; without a question of its own, ask that one's."""
        is_new = body.message is not None or body.messages is not None or files
        # The results of tools in a frontend's history belong to calls that are deleted, or are known.
        items = self._turn(scope, body, files)[1][-1:] if is_new else [question_input(turn.items[0])]
        if not is_question(items[-1]):
            raise BadRequestError("With 'replaces', the last message must be the user's.", param="messages")
        if body.message is not None and not files:
            # Somebody who edits the words has not taken the files back.
            items = [with_files_of(items[-1], turn.items[0])]
        context, params = await self._prepared(scope, body.thread_id, [], items)
        with _busy_as_conflict():
            return await self.replaced.open(scope, context, params, turn, on_disconnect=on_disconnect)

    async def _prepared(
        self, scope: RequestScope, thread_id: str | None, before: list[Json], items: list[Json]
    ) -> tuple[RunContext, Json]:
        """Create the thread if there is none, and return the run's context and its response's parameters."""
        conversation_id = None if thread_id is None else scope.conversation(thread_id)
        if conversation_id is None:
            scope.check_new_thread()
        if self.intake is not None:
            admitted = await self.intake.admitted(scope, [*before, *items], thread_id)
            before, items = admitted[: len(before)], admitted[len(before) :]
        if thread_id is None or conversation_id is None:
            conversation_id = str((await self.conversations.create(before, {}))["id"])
            thread_id = scope.ids.thread(conversation_id)
            scope.has_new_thread = not before
        scope.headers["x-thread-id"] = thread_id
        context = self.params.context(scope, thread_id, is_brief=True)
        if self.params.waits_for_more_than_functions or context.own_tools.approvals:
            items = await self.runs.rounds.typed_answers(conversation_id, items, context.own_tools)
        resources = await self.runs.resources(conversation_id) if self.params.uses_files else {}
        params = self.params.for_chat(scope, resources)
        return context, turn_body(params, conversation_id, items)

    def history(
        self, messages: list[Json], thread_id: str | None, *, brings_files: bool = False
    ) -> tuple[list[Json], list[Json]]:
        """Split a frontend's history into the items that a new thread begins with and the turn's input.

        With a thread, only what follows the last message of the assistant counts. A last message that
        `brings_files` may be empty.
        """
        read = last_user_items if thread_id else history_items
        items = read(messages, brings_files=brings_files)
        _each_text(items, lambda text: self._check_length(text, "messages"))
        if thread_id or items[-1].get("role") != "user":
            return [], items
        return items[:-1], items[-1:]

    def _turn(
        self, scope: RequestScope, body: ChatRequest, files: Sequence[Attached]
    ) -> tuple[list[Json], list[Json]]:
        """Return the items that a new thread begins with, and the turn's input with the uploaded files."""
        before, items = self._input(body, files)
        if files:
            items[-1] = with_files(items[-1], files, scope.ids)
        return before, items

    def _input(self, body: ChatRequest, files: Sequence[Attached]) -> tuple[list[Json], list[Json]]:
        if body.messages is not None:
            return self.history(body.messages, body.thread_id, brings_files=bool(files))
        content: list[Json] = []
        # A turn may consist of files alone.
        if body.message is not None:
            self._check_length(body.message, "message")
            content = [{"type": "input_text", "text": body.message}]
        return [], [{"type": "message", "role": "user", "content": content}]

    def _check_length(self, text: str, param: str) -> None:
        if len(text) > (limit := self.settings.max_message_chars):
            raise BadRequestError(
                f"The text is longer than {limit} characters. Shorten it or attach a file.",
                param=param,
                code="string_above_max_length",
            )


async def _last_event(stream: FollowedRun) -> RunEnded | StreamFailed:
    """Read a stream to its terminal event."""
    async for events in stream:
        if isinstance(last := events[-1], RunEnded | StreamFailed):
            return last
    raise RuntimeError("a run stream ended without its terminal event")


def _each_text(items: list[Json], check: Callable[[str], None]) -> None:
    for item in items:
        for part in item.get("content") or []:
            check(part.get("text") or "")


@contextmanager
def _busy_as_conflict() -> Iterator[None]:
    """Turn the 400 of a locked conversation into a 409, which SDKs retry."""
    try:
        yield
    except ConversationLockedError as exc:
        raise ConflictError(
            "The thread is busy with another message. Retry when that has been answered.",
            param="thread_id",
            code="thread_busy",
            headers={"retry-after": "2"},
        ) from exc
