"""Threads: upstream conversations, seen as the Assistants API showed them."""

import asyncio
import json

import structlog

from app.core.callers import Scope, missing_as
from app.core.conversations import Conversations
from app.core.errors import BadRequestError, OverrideForbiddenError
from app.core.messages import Messages
from app.core.run_log import RunLog
from app.core.run_params import RunParams
from app.core.upstream.failures import UpstreamError
from app.models.threads import ThreadCreate, ThreadUpdate
from app.translate.events import Json
from app.translate.objects import thread_object

_log = structlog.get_logger(__name__)
RESOURCES_KEY = "soloist_resources"
_MAX_CHARS = 512
_DELETES_AT_ONCE = 8


class Threads:
    """The service behind `/threads`."""

    def __init__(
        self, conversations: Conversations, run_log: RunLog, messages: Messages, params: RunParams
    ) -> None:
        self._conversations = conversations
        self._run_log = run_log
        self._messages = messages
        self._params = params

    async def create(self, scope: Scope, body: ThreadCreate, prefix: str = "") -> Json:
        """Create a thread with its messages. Upstream: POST conversations, twenty items a call."""
        self._params.check_unsupported(body, scope, prefix)
        items = self._messages.to_items(scope, body.messages, f"{prefix}messages")
        metadata = (body.metadata or {}) | _stored(scope, body.tool_resources)
        conversation = await self._conversations.create(items, metadata)
        return self._object(scope, conversation, scope.ids.thread(conversation["id"]))

    async def get(self, scope: Scope, thread_id: str) -> Json:
        """Read a thread. Upstream: GET conversations/{c}."""
        conversation_id = scope.conversation(thread_id)
        with missing_as("thread"):
            conversation = await self._conversations.get(conversation_id)
        return self._object(scope, conversation, thread_id)

    async def update(self, scope: Scope, thread_id: str, body: ThreadUpdate) -> Json:
        """Replace a thread's metadata. Upstream: POST conversations/{c}, our own keys kept."""
        conversation_id = scope.conversation(thread_id)
        self._params.check_unsupported(body, scope)
        with missing_as("thread"):
            if body.metadata is None and body.tool_resources is None:
                return await self.get(scope, thread_id)
            resources = _stored(scope, body.tool_resources) if body.tool_resources is not None else None
            conversation = await self._run_log.set_public_metadata(conversation_id, body.metadata, resources)
        return self._object(scope, conversation, thread_id)

    async def delete(self, scope: Scope, thread_id: str) -> Json:
        """Delete a thread and what it holds: upstream keeps the items of a deleted conversation."""
        conversation_id = scope.conversation(thread_id)
        with missing_as("thread"):
            await self._conversations.get(conversation_id)
            await self._delete_items(conversation_id)
            await self._conversations.delete(conversation_id)
        return {"id": thread_id, "object": "thread.deleted", "deleted": True}

    async def _delete_items(self, conversation_id: str) -> None:
        ids = [str(item.get("id")) async for item in self._conversations.items(conversation_id)]
        gate = asyncio.Semaphore(_DELETES_AT_ONCE)

        async def delete(item_id: str) -> None:
            async with gate:
                await self._conversations.delete_item(conversation_id, item_id)

        results = await asyncio.gather(*map(delete, ids), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            _log.warning("items_left_behind", count=len(failed))
        for result in failed:
            if not isinstance(result, UpstreamError):
                raise result

    @staticmethod
    def _object(scope: Scope, conversation: Json, thread_id: str) -> Json:
        return thread_object(conversation, thread_id, resources_of(conversation, scope))


def resources_of(conversation: Json, _scope: Scope) -> Json:
    """Return the thread's tool resources, which its metadata remembers."""
    metadata = conversation.get("metadata")
    text = metadata.get(RESOURCES_KEY) if isinstance(metadata, dict) else None
    try:
        found = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _stored(scope: Scope, resources: Json | None) -> dict[str, str]:
    if not resources:
        return {}
    if not scope.caller.is_trusted:
        raise OverrideForbiddenError(
            "This service does not let this caller choose files or stores for a thread. Leave it out.",
            param="tool_resources",
        )
    text = json.dumps(resources, separators=(",", ":"))
    if len(text) > _MAX_CHARS:
        raise BadRequestError(
            f"'tool_resources' is longer than the {_MAX_CHARS} characters that can be kept. Use fewer ids.",
            param="tool_resources",
        )
    return {RESOURCES_KEY: text}
