"""Erases what a user of an API key has left."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.caller import RequestScope
from app.core.directory.entries import Entry, EntryPage, UnknownCursorError
from app.core.errors import NoStoreError, ServiceError
from app.core.files.attachments import Attachments
from app.core.files.service import Files
from app.core.services.threads import Threads
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamMissingError
from app.translate.attachments import file_ids_of, message_file_ids, resources_of

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory
    from app.core.insight.insight import Insight

_AT_ONCE = 4


@dataclass(eq=False)
class Users:
    """The service behind `/users/{user}`; without a directory it raises `NoStoreError`."""

    directory: "ThreadDirectory | None"
    conversations: Conversations
    threads: Threads
    attachments: Attachments
    files: Files
    insight: "Insight | None"

    async def delete(self, scope: RequestScope) -> int:
        """Delete all threads of the scope's owner with their files; return how many there were.

        A thread that cannot be deleted stays in the directory, and its error is raised after the others are
        gone: a repeated call goes on there.
        """
        if self.directory is None or not self.directory.is_used:
            raise NoStoreError
        await self.directory.written(scope.caller.owner)
        deleted, failures, last = 0, list[ServiceError](), None
        while entries := await self._next(self.directory, scope.caller.owner, last):
            deleting = (self._delete(self.directory, scope, entry) for entry in entries)
            results = await asyncio.gather(*deleting)
            deleted += results.count(None)
            for entry, failure in zip(entries, results, strict=True):
                if failure is not None:
                    failures.append(failure)
                    last = entry
        if self.insight is not None:
            await self.insight.forget(scope.caller.owner)
        if failures:
            raise failures[0]
        return deleted

    @staticmethod
    async def _next(directory: "ThreadDirectory", owner: str, last: Entry | None) -> list[Entry]:
        """Return some of the owner's threads, after the last one that cannot be deleted."""
        # Another call may have deleted the last one meanwhile.
        with suppress(UnknownCursorError):
            after = last.conversation_id if last else None
            return (await directory.table.page(EntryPage(owner, _AT_ONCE, after=after)))[0]
        return (await directory.table.page(EntryPage(owner, _AT_ONCE)))[0]

    async def _delete(
        self, directory: "ThreadDirectory", scope: RequestScope, entry: Entry
    ) -> ServiceError | None:
        """Delete a thread; return why it cannot be deleted."""
        try:
            with suppress(UpstreamMissingError):
                await self._delete_files(scope, entry.conversation_id)
            await self.threads.delete_conversation(entry.conversation_id)
        except UpstreamMissingError:
            # An entry that stayed would be found again, for ever.
            await directory.removed(entry.conversation_id)
        except ServiceError as exc:
            return exc
        return None

    async def _delete_files(self, scope: RequestScope, conversation_id: str) -> None:
        conversation = await self.conversations.get(conversation_id)
        resources = resources_of(conversation.get("metadata"))
        found = {*file_ids_of(resources), *await self.attachments.stored_files(resources)}
        async for item in self.conversations.items(conversation_id):
            found |= message_file_ids(item, scope.ids)
        await self.files.erase(sorted(found))
