"""Threads: upstream conversations in the form of the Assistants API."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from app.core.caller import RequestScope
from app.core.errors import NoStoreError
from app.core.files.attachments import Attachments
from app.core.runs.live_runs import LiveRuns
from app.core.services.messages import Messages
from app.core.unsupported_params import UnsupportedParams
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamError, UpstreamMissingError, not_found_as
from app.models.threads import ThreadCreate, ThreadUpdate
from app.translate.attachments import public_resources, resources_metadata, resources_of
from app.translate.events import Json
from app.translate.objects import thread_object

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory
    from app.core.insight.insight import Insight

_log = structlog.get_logger(__name__)
_DELETES_AT_ONCE = 8


@dataclass(eq=False)
class Threads:
    """The service behind `/threads`."""

    conversations: Conversations
    metadata: ConversationMetadata
    messages: Messages
    live_runs: LiveRuns
    attachments: Attachments
    unsupported: UnsupportedParams
    directory: "ThreadDirectory | None" = None
    insight: "Insight | None" = None

    async def create(self, scope: RequestScope, body: ThreadCreate, prefix: str = "") -> Json:
        """Create a thread with its messages. Upstream: POST conversations, twenty items per call."""
        scope.check_new_thread()
        self.unsupported.check(body, scope, prefix)
        attached = await self.attachments.find(scope, body.messages, f"{prefix}messages")
        items = await self.messages.to_items(scope, body.messages, attached, f"{prefix}messages")
        asked = await self.attachments.requested(scope, body.tool_resources) if body.tool_resources else {}
        resources = await self.attachments.provide(asked, itertools.chain.from_iterable(attached))
        metadata = (body.metadata or {}) | (resources_metadata(resources) if resources else {})
        try:
            conversation = await self.conversations.create(items, metadata)
        except BaseException:
            # Nothing else knows of the vector stores that were just created.
            self.attachments.discard(resources)
            raise
        return self._object(scope, conversation, scope.ids.thread(conversation["id"]))

    async def get(self, scope: RequestScope, thread_id: str) -> Json:
        """Read a thread. Upstream: GET conversations/{c}."""
        conversation_id = scope.conversation(thread_id)
        with not_found_as("thread"):
            conversation = await self.conversations.get(conversation_id)
        return self._object(scope, conversation, thread_id)

    async def update(self, scope: RequestScope, thread_id: str, body: ThreadUpdate) -> Json:
        """Replace a thread's metadata but for our own keys, and set its title in the directory.

        Upstream: POST conversations/{c}. Raises `NoStoreError` for a title without a directory.
        """
        conversation_id = scope.conversation(thread_id)
        self.unsupported.check(body, scope)
        if body.title is not None:
            await self._set_title(scope, conversation_id, body.title)
        with not_found_as("thread"):
            if body.metadata is None and body.tool_resources is None:
                return await self.get(scope, thread_id)
            ours = None
            if body.tool_resources is not None:
                before = resources_of((await self.conversations.get(conversation_id)).get("metadata"))
                resources = await self.attachments.requested(scope, body.tool_resources, before)
                self.attachments.discard(before, kept=resources)
                ours = resources_metadata(resources)
            conversation = await self.metadata.set_public_metadata(conversation_id, body.metadata, ours)
        return self._object(scope, conversation, thread_id)

    async def delete(self, scope: RequestScope, thread_id: str) -> Json:
        """Delete a thread and its items, which the upstream would keep, after cancelling its runs.

        Upstream: GET conversations/{c}, DELETE for each, before it what `LiveRuns.cancel` calls.
        """
        conversation_id = scope.conversation(thread_id)
        with not_found_as("thread"):
            await self.delete_conversation(conversation_id)
        return {"id": thread_id, "object": "thread.deleted", "deleted": True}

    async def delete_conversation(self, conversation_id: str) -> None:
        """Do what `delete` does, whoever owns the thread; raises `UpstreamMissingError` if there is none."""
        try:
            conversation, history = await self.metadata.read(conversation_id)
        except UpstreamMissingError as exc:
            if self.directory is not None and "conversation" in exc.kinds:
                # Somebody has deleted it elsewhere.
                await self.directory.removed(conversation_id)
            raise
        await self.live_runs.cancel(conversation_id, history)
        await self._delete_items(conversation_id)
        if self.insight is not None:
            await self.insight.usage_log.forget_thread(conversation_id)
        await self.conversations.delete(conversation_id)
        self.attachments.discard(resources_of(conversation.get("metadata")))

    async def _set_title(self, scope: RequestScope, conversation_id: str, title: str) -> None:
        if self.directory is None or not self.directory.is_used:
            raise NoStoreError
        with not_found_as("thread"):
            conversation = await self.conversations.get(conversation_id)
        await self.directory.set_title(conversation, scope.caller.owner, title)

    async def _delete_items(self, conversation_id: str) -> None:
        ids = [str(item.get("id")) async for item in self.conversations.items(conversation_id)]
        # All at once could use up the connection pool, which other requests share.
        gate = asyncio.Semaphore(_DELETES_AT_ONCE)

        async def delete(item_id: str) -> None:
            async with gate:
                await self.conversations.delete_item(conversation_id, item_id)

        results = await asyncio.gather(*map(delete, ids), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        # The thread itself is deleted all the same: its items cannot be reached any more.
        if failed:
            _log.warning("items_left_behind", count=len(failed))
        for result in failed:
            if not isinstance(result, UpstreamError):
                raise result

    @staticmethod
    def _object(scope: RequestScope, conversation: Json, thread_id: str) -> Json:
        resources = resources_of(conversation.get("metadata"))
        return thread_object(conversation, thread_id, public_resources(resources, scope.ids))
