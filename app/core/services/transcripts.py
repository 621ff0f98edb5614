"""Transcripts: exports whole threads, and creates threads from exports."""

import asyncio
from dataclasses import dataclass
from typing import Any

from app.core.assistant import Assistant
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, NotFoundError
from app.core.files.service import Files
from app.core.insight.feedback import FeedbackService
from app.core.services.messages import Messages
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamMissingError, UpstreamRefusedError, not_found_as
from app.models.threads import ThreadCreate
from app.translate.attachments import public_resources, resources_of
from app.translate.cited_text import FileUrl
from app.translate.events import Json
from app.translate.objects import thread_object
from app.translate.run_metadata import RunHistory
from app.translate.transcript import ImportedMessage, MarkdownTranscript, read_transcript, tool_calls

_MAX_ITEMS = 20_000
_MAX_IMAGES = 100


@dataclass(eq=False)
class Transcripts:
    """The service behind `/threads/{thread_id}/export` and `/threads/import`."""

    conversations: Conversations
    metadata: ConversationMetadata
    messages: Messages
    files: Files
    feedback: FeedbackService
    assistant: Assistant
    settings: Settings

    async def export_json(self, scope: RequestScope, thread_id: str) -> Json:
        """Return a thread with all its messages, oldest first, its tool calls and its feedback.

        Upstream: GET conversations/{c}, GET conversations/{c}/items, then as `Messages.authors`.
        """
        thread, history, items = await self._whole(scope, thread_id)
        said = [(item, ()) for item in items if item["type"] == "message"]
        authors = await self.messages.authors((item for item, _ in said), history)
        messages = self.messages.seen(scope, thread_id, said, authors, thread["created_at"], is_raw=True)
        calls = tool_calls(items, scope.ids)
        feedback = await self.feedback.of_thread(scope, thread_id)
        return {
            "object": "thread.export",
            "thread": thread,
            "data": messages,
            "tool_calls": calls,
            "feedback": feedback,
        }

    async def export_markdown(self, scope: RequestScope, thread_id: str, file_url: FileUrl) -> str:
        """Return a thread as a Markdown document. Upstream: as `export_json`, without authors."""
        thread, _, items = await self._whole(scope, thread_id)
        return MarkdownTranscript(scope.ids, self.assistant.name, file_url).write(thread, items)

    async def create(self, scope: RequestScope, data: Any) -> Json:
        """Create a thread from an export; returns `{object, thread, imported, skipped}`.

        Upstream: POST conversations, POST conversations/{c}/items, twenty items per call.
        """
        scope.check_new_thread()
        messages, skipped = read_transcript(data)
        self._check_lengths(messages)
        metadata = _metadata_of(data)
        images = await self._images(scope, messages)
        conversation = await self.conversations.create(
            [message.item(images) for message in messages], metadata
        )
        thread = thread_object(conversation, scope.ids.thread(conversation["id"]))
        return {"object": "thread.import", "thread": thread, "imported": len(messages), "skipped": skipped}

    async def _whole(self, scope: RequestScope, thread_id: str) -> tuple[Json, RunHistory, list[Json]]:
        conversation_id = scope.conversation(thread_id)
        items: list[Json] = []
        with not_found_as("thread"):
            conversation, history = await self.metadata.read(conversation_id)
            async for item in self.conversations.items(conversation_id, order="asc"):
                items.append({**item, "type": str(item.get("type"))})
                if len(items) > _MAX_ITEMS:
                    raise BadRequestError(
                        f"The thread has more than the {_MAX_ITEMS} items that can be exported at once.",
                        param="thread_id",
                        code="thread_too_long",
                    )
        resources = public_resources(resources_of(conversation.get("metadata")), scope.ids)
        return thread_object(conversation, thread_id, resources), history, items

    def _check_lengths(self, messages: list[ImportedMessage]) -> None:
        limit = self.settings.max_message_chars
        for message in messages:
            if message.text_length() > limit:
                raise BadRequestError(
                    f"The text is longer than {limit} characters. Split the message.",
                    param=f"{message.param}.content",
                    code="string_above_max_length",
                )

    async def _images(self, scope: RequestScope, messages: list[ImportedMessage]) -> dict[str, str]:
        """Return upstream ids by public id, of those images that this owner has uploaded."""
        wanted = list(dict.fromkeys(file_id for message in messages for file_id in message.image_ids()))

        async def find(file_id: str) -> tuple[str, str] | None:
            try:
                return file_id, str((await self.files.find(scope, file_id, "file_id"))["id"])
            except (NotFoundError, BadRequestError, UpstreamMissingError, UpstreamRefusedError):
                # An image of another service or owner: the import names it in a text instead.
                return None

        found = await asyncio.gather(*map(find, wanted[:_MAX_IMAGES]))
        return dict(pair for pair in found if pair)


def _metadata_of(data: Any) -> dict[str, str]:
    thread = data.get("thread") if isinstance(data, dict) else None
    metadata = thread.get("metadata") if isinstance(thread, dict) else None
    try:
        return ThreadCreate.model_validate({"metadata": metadata or None}).metadata or {}
    except ValueError as exc:
        raise BadRequestError(
            "The thread's metadata cannot be kept. Leave it out.", param="thread.metadata"
        ) from exc
