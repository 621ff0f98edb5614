"""The chat surface: a thread, a message and a run in one call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, ConflictError
from app.core.runs.create import RunStarter
from app.core.runs.follow import RunStream
from app.core.runs.lookup import RunLookup
from app.core.runs.params import RunParams, turn_body
from app.core.services.runs import Runs
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import ConversationLockedError
from app.models.chat import ChatRequest
from app.models.runs import ToolOutputsSubmit
from app.translate.attachments import Attached, with_files
from app.translate.chat_input import history_items, last_user_items
from app.translate.events import Json, RunEnded, StreamFailed

_LOG_DELAY_SECONDS = 2.0
"""Chats of one thread within this time share one write of its run history; see `ConversationMetadata`."""

FILES_ALONE: Json = {"role": "user", "text": ""}
"""The one message of a turn that consists of files."""


class Chat:
    """The service behind `/chat` and `/ag-ui`: every turn is a run, followed to its end."""

    def __init__(
        self,
        conversations: Conversations,
        starter: RunStarter,
        reader: RunLookup,
        runs: Runs,
        params: RunParams,
        settings: Settings,
    ) -> None:
        self._conversations = conversations
        self._starter = starter
        self._reader = reader
        self._runs = runs
        self._params = params
        self._max_chars = settings.max_message_chars

    async def open(
        self,
        scope: RequestScope,
        body: ChatRequest,
        files: Sequence[Attached] = (),
        *,
        cancels: bool,
    ) -> RunStream:
        """Start a turn, with files that came along, and return its stream.

        Upstream: POST conversations for a new thread, POST responses.
        """
        if body.tool_outputs is not None and body.run_id and body.thread_id:
            outputs = ToolOutputsSubmit.model_construct(tool_outputs=body.tool_outputs)
            with _locked_as_busy():
                return await self._runs.submit_stream(
                    scope, body.thread_id, body.run_id, outputs, cancels=cancels
                )
        before, items = self._input(body, files)
        if files:
            items[-1] = with_files(items[-1], files, scope.ids)
        return await self.open_turn(scope, body.thread_id, before, items, cancels=cancels)

    async def open_turn(
        self,
        scope: RequestScope,
        thread_id: str | None,
        before: list[Json],
        items: list[Json],
        *,
        cancels: bool,
    ) -> RunStream:
        """Start a turn with ready input items; `before` are what a new thread begins with."""
        start = partial(self._start, scope, items, cancels=cancels)
        if thread_id is not None:
            return await start(thread_id, scope.conversation(thread_id))
        scope.check_new_thread()
        created = await self._conversations.create(before, {})
        return await start(scope.ids.thread(created["id"]), created["id"], is_first=True)

    async def _start(
        self,
        scope: RequestScope,
        items: list[Json],
        thread_id: str,
        conversation_id: str,
        *,
        cancels: bool,
        is_first: bool = False,
    ) -> RunStream:
        scope.headers["x-thread-id"] = thread_id
        params = self._params.for_chat(scope, {})
        if resources := await self._runs.resources(conversation_id, scope, params.get("tools") or []):
            params = self._params.for_chat(scope, resources)
        with _locked_as_busy():
            return await self._starter.open(
                scope,
                self._reader.context(scope, thread_id),
                turn_body(params, conversation_id, items),
                log_delay_seconds=_LOG_DELAY_SECONDS,
                cancels=cancels,
                is_first=is_first,
            )

    def history(self, messages: list[Json], thread_id: str | None) -> tuple[list[Json], list[Json]]:
        """Split a frontend's history into what a new thread begins with and this turn's input.

        With a thread, only what is new since the assistant spoke last counts.
        """
        items = last_user_items(messages) if thread_id else history_items(messages)
        _each_text(items, lambda text: self._check_length(text, "messages"))
        if thread_id or items[-1].get("role") != "user":
            return [], items
        return items[:-1], items[-1:]

    def _input(self, body: ChatRequest, files: Sequence[Attached]) -> tuple[list[Json], list[Json]]:
        if files and body.messages == [FILES_ALONE]:
            return [], [{"type": "message", "role": "user", "content": []}]
        if body.messages is not None:
            return self.history(body.messages, body.thread_id)
        text = body.message or ""
        self._check_length(text, "message")
        return [], [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]

    def _check_length(self, text: str, param: str) -> None:
        if len(text) > self._max_chars:
            raise BadRequestError(
                f"The text is longer than {self._max_chars} characters. Shorten it or attach a file.",
                param=param,
                code="string_above_max_length",
            )


async def last_event(stream: RunStream) -> RunEnded | StreamFailed:
    """Follow a stream to its terminal event."""
    async for events in stream:
        if isinstance(last := events[-1], RunEnded | StreamFailed):
            return last
    raise RuntimeError("a run stream ended without its terminal event")


def _each_text(items: list[Json], check: Callable[[str], None]) -> None:
    for item in items:
        for part in item.get("content") or []:
            check(part.get("text") or "")


@contextmanager
def _locked_as_busy() -> Iterator[None]:
    """Answer a locked conversation with the conflict that it is here: no SDK would repeat a chat for it."""
    try:
        yield
    except ConversationLockedError as exc:
        raise ConflictError(
            "The thread is busy with another message. Retry when that has been answered.",
            param="thread_id",
            code="thread_busy",
            headers={"retry-after": "2"},
        ) from exc
