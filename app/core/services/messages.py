"""Messages: conversation items of type `message` in the form of the Assistants API."""

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, not_found
from app.core.files.attachments import Attachments
from app.core.files.service import file_url
from app.core.runs.message_runs import Authors, MessageRuns
from app.core.safety.intake import Intake
from app.core.unsupported_params import UnsupportedParams
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamMissingError, UpstreamRefusedError, not_found_as
from app.core.upstream.retries import gather_pair
from app.models.messages import MessageCreate
from app.translate.attachments import Attached
from app.translate.events import Json
from app.translate.input_items import is_models_own, message_item, text_length
from app.translate.marks import text_objects
from app.translate.objects import message_object, page
from app.translate.pictures import CODE_OUTPUTS, Picture, cited_parts, image_part, pictures_in
from app.translate.run_metadata import RunHistory
from app.utils.ids import BadIdError

# Between two messages there are a few items: calls, their outputs, reasoning.
_ITEMS_BEFORE = 10
_MOST_ITEMS_BEFORE = 100
Seen = tuple[Json, Sequence[Picture]]
"""A message's item, and the pictures that were made before it."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The requested part of a list; `after` and `before` are public ids."""

    limit: int = 20
    order: str = "desc"
    after: str | None = None
    before: str | None = None


@dataclass(eq=False)
class Messages:
    """The service behind `/threads/{thread_id}/messages`."""

    conversations: Conversations
    metadata: ConversationMetadata
    runs: MessageRuns
    attachments: Attachments
    unsupported: UnsupportedParams
    assistant_id: str
    settings: Settings
    intake: Intake | None = None

    async def create(self, scope: RequestScope, thread_id: str, body: MessageCreate) -> Json:
        """Add a message; waits for a busy thread. Upstream: POST conversations/{c}/items."""
        conversation_id = scope.conversation(thread_id)
        attached = await self.attachments.find(scope, [body])
        items = await self.to_items(scope, [body], attached, thread_id=thread_id)
        with not_found_as("thread"):
            await self.attachments.remember(conversation_id, attached[0])
            stored = await self.conversations.add_items(conversation_id, items)
        # Nothing may fail after the message is stored: SDKs would send it again.
        return self.seen(scope, thread_id, [(stored[0], ())], {}, int(time.time()))[0]

    async def get(self, scope: RequestScope, thread_id: str, message_id: str) -> Json:
        """Read a message. Upstream: GET conversations/{c}/items/{i} and conversations/{c}.

        For an answer also `authors`, and GET conversations/{c}/items: pictures in it are items of their own.
        """
        conversation_id, item_id = scope.conversation(thread_id, of="message"), scope.item(message_id)
        with not_found_as("message"):
            (conversation, history), item = await gather_pair(
                self.metadata.read(conversation_id), self.conversations.get_item(conversation_id, item_id)
            )
        if item.get("type") != "message":
            raise not_found("message")
        with not_found_as("message"):
            before = await self._pictures_before(scope, conversation_id, item)
        authors = await self.authors([item], history)
        return self.seen(scope, thread_id, [(item, before)], authors, _created_at(conversation))[0]

    async def delete(self, scope: RequestScope, thread_id: str, message_id: str) -> Json:
        """Delete a message, and reasoning that led only to it: left alone, upstreams refuse that.

        Upstream: GET conversations/{c}/items/{i}, for an answer GET conversations/{c}/items, DELETE for each.
        """
        conversation_id, item_id = scope.conversation(thread_id, of="message"), scope.item(message_id)
        with not_found_as("message"):
            item = await self.conversations.get_item(conversation_id, item_id)
            if item.get("type") != "message":
                raise not_found("message")
            is_answer = item.get("role") == "assistant"
            # First, so that a deletion that fails here can be repeated.
            for each in await self._reasoning_of(conversation_id, item_id) if is_answer else []:
                with suppress(UpstreamMissingError):
                    await self.conversations.delete_item(conversation_id, each)
            await self.conversations.delete_item(conversation_id, item_id)
        return {"id": message_id, "object": "thread.message.deleted", "deleted": True}

    async def list_page(
        self, scope: RequestScope, thread_id: str, cursor: Cursor, run_id: str | None
    ) -> Json:
        """List messages; `run_id` and `before`, which the upstream does not have, are applied here.

        Upstream: GET conversations/{c} and conversations/{c}/items, at once unless `run_id` is given, and
        `authors` for answers.
        """
        conversation_id = scope.conversation(thread_id)
        response_id = scope.response(run_id) if run_id else None
        reading = self.metadata.read(conversation_id)
        with not_found_as("thread"):
            if response_id is None:
                window = self._window(scope, conversation_id, cursor)
                (conversation, history), (items, has_more) = await gather_pair(reading, window)
                authors = await self.authors((item for item, _ in items), history)
            else:
                conversation, history = await reading
                authors = await self.runs.of_run(response_id, history)
                items, has_more = await self._window(scope, conversation_id, cursor, authors)
        turn = slice(None, None, 1 if cursor.order == "asc" else -1)
        messages = self.seen(scope, thread_id, items[turn], authors, _created_at(conversation))
        return page(messages[turn], has_more=has_more)

    async def authors(self, items: Iterable[Json], history: RunHistory) -> Authors:
        """Return the authors of a thread's messages, if an answer is among the items."""
        has_answers = any(item.get("role") == "assistant" for item in items)
        return await self.runs.authors(history) if has_answers else {}

    async def _reasoning_of(self, conversation_id: str, item_id: str) -> list[str]:
        """Return the ids of the reasoning items directly before an answer, unless a later item needs them."""
        found: list[str] = []
        async for item in self.conversations.items(conversation_id, after=item_id, page_items=_ITEMS_BEFORE):
            if item.get("type") != "reasoning":
                break
            found.append(str(item.get("id")))
        if not found:
            return []
        following = self.conversations.items(conversation_id, order="asc", after=item_id, most=1)
        # A call or another message of the same response is paired with the same reasoning.
        return [] if [item async for item in following if is_models_own(item)] else found

    async def to_items(
        self,
        scope: RequestScope,
        messages: Iterable[MessageCreate],
        attached: Iterable[Sequence[Attached]],
        prefix: str = "",
        thread_id: str | None = None,
    ) -> list[Json]:
        """Return the upstream input items for messages and the files attached to each.

        Raises `BadRequestError` for a message that is too long, `NotFoundError` for a foreign file, and what
        `Intake.admitted` raises.
        """
        items = []
        for number, (message, files) in enumerate(zip(messages, attached, strict=True)):
            name = f"{prefix}[{number}]." if prefix else ""
            self.unsupported.check(message, scope, name)
            # Conversation items have no metadata.
            if message.metadata:
                scope.ignore([f"{name}metadata"])
            dumped = message.model_dump()
            if text_length(dumped) > (limit := self.settings.max_message_chars):
                raise BadRequestError(
                    f"The text is longer than {limit} characters. Shorten it or attach a file.",
                    param=f"{name}content",
                    code="string_above_max_length",
                )
            try:
                items.append(message_item(dumped, scope.ids, files))
            except BadIdError:
                raise not_found("file", param="file_id") from None
        return items if self.intake is None else await self.intake.admitted(scope, items, thread_id)

    async def _window(
        self,
        scope: RequestScope,
        conversation_id: str,
        cursor: Cursor,
        wanted: Collection[str] | None = None,
    ) -> tuple[list[Seen], bool]:
        """Return the items of a page, each with the pictures made before it, and whether there are more.

        With `wanted`, only items with these ids count.
        """
        order = cursor.order
        after, stop = _item_of(scope, cursor.after, "after"), _item_of(scope, cursor.before, "before")
        # With `before` alone, the page ends at it: read towards the other end and turn the page round.
        backwards = stop is not None and after is None
        if backwards:
            order, after, stop = ("asc" if order == "desc" else "desc"), stop, None
        found: list[Seen] = []
        between: list[Picture] = []
        # With a filter, the number of items to read is unknown: large pages then save calls.
        page_items = 100 if stop or wanted is not None else cursor.limit + 1
        items = self.conversations.items(
            conversation_id, order=order, after=after, page_items=page_items, include=CODE_OUTPUTS
        )
        try:
            async for item in items:
                if item.get("id") == stop:
                    break
                if item.get("type") != "message":
                    made = pictures_in(item, conversation_id, scope.ids)
                    at = len(between) if order == "asc" else 0
                    between[at:at] = made
                    continue
                if wanted is not None and len(found) == len(wanted):
                    break
                pictures, between = between, []
                if order == "desc":
                    # Newest first, the pictures before this message are still to come.
                    pictures = between
                if wanted is None or item.get("id") in wanted:
                    found.append((item, pictures))
                if len(found) > cursor.limit:
                    break
        except (UpstreamMissingError, UpstreamRefusedError) as exc:
            # Upstreams answer an unknown cursor like an unknown conversation.
            if not (cursor.after or cursor.before):
                raise
            raise _bad_cursor("after" if cursor.after else "before") from exc
        has_more, found = len(found) > cursor.limit, found[: cursor.limit]
        return (found[::-1] if backwards else found), has_more

    async def _pictures_before(
        self, scope: RequestScope, conversation_id: str, message: Json
    ) -> list[Picture]:
        """Return the pictures that were made for an answer, none for a question."""
        found: list[Picture] = []
        if message.get("role") != "assistant":
            return found
        items = self.conversations.items(
            conversation_id,
            after=str(message["id"]),
            page_items=_ITEMS_BEFORE,
            most=_MOST_ITEMS_BEFORE,
            include=CODE_OUTPUTS,
        )
        async for item in items:
            if item.get("type") == "message":
                break
            found[:0] = pictures_in(item, conversation_id, scope.ids)
        return found

    def seen(
        self,
        scope: RequestScope,
        thread_id: str,
        items: Iterable[Seen],
        authors: Authors,
        began_at: int,
        *,
        is_raw: bool = False,
    ) -> list[Json]:
        """Return the Messages for a thread's items, oldest first, with the runs that wrote them.

        `began_at` is the thread's time, for messages whose own is unknown. None is older than the one before.
        `is_raw` leaves items as they are: no pictures, no marks of citations.
        """
        citations = None if is_raw else text_objects(self.settings.citations, file_url(self.settings))
        found: list[Json] = []
        for item, pictures in items:
            author = authors.get(str(item.get("id")))
            made = pictures if item.get("role") == "assistant" and not is_raw else ()
            message = message_object(
                item,
                scope.ids,
                thread_id=thread_id,
                assistant_id=self.assistant_id,
                run_id=scope.ids.run(author.run) if author else None,
                created_at=(author and author.created_at) or began_at,
                text_object=citations,
                pictures=[image_part(picture.file_id) for picture in made],
                cited=() if is_raw else cited_parts(item, made, scope.ids),
            )
            found.append(_not_before(found[-1], message) if found else message)
        return found


def _not_before(earlier: Json, message: Json) -> Json:
    """Return a message with the time of an earlier one, if its own is before that."""
    moment = max(earlier["created_at"], message["created_at"])
    times = ("created_at", "completed_at", "incomplete_at")
    return message | {name: moment for name in times if message[name] is not None}


def _created_at(conversation: Json) -> int:
    return int(conversation.get("created_at") or 0)


def _item_of(scope: RequestScope, message_id: str | None, name: str) -> str | None:
    if message_id is None:
        return None
    try:
        return scope.ids.item(message_id)
    except BadIdError:
        raise _bad_cursor(name) from None


def _bad_cursor(name: str) -> BadRequestError:
    return BadRequestError(f"'{name}' names no message of this thread.", param=name, code="invalid_cursor")
