"""The list of a caller's threads, out of the directory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.caller import RequestScope
from app.core.directory.entries import Entry, EntryPage, UnknownCursorError
from app.core.errors import BadRequestError, ForbiddenError, NoStoreError
from app.core.services.messages import Cursor
from app.translate.events import Json
from app.translate.objects import page
from app.utils.ids import BadIdError

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory


@dataclass(eq=False)
class ThreadList:
    """The service behind `GET /threads`; without a directory it raises `NoStoreError`."""

    directory: "ThreadDirectory | None"

    async def list_page(self, scope: RequestScope, cursor: Cursor, words: str | None = None) -> Json:
        """List the caller's threads by their last activity; with `words`, those whose title has them.

        Raises `ForbiddenError` if callers cannot be told apart, and `BadRequestError` for an unknown cursor.
        """
        if self.directory is None or not self.directory.is_used:
            raise NoStoreError
        caller = scope.caller
        if caller.kind == "anonymous" and not caller.is_trusted:
            raise ForbiddenError(
                "Nobody signs in to this service, so it cannot tell whose threads to list. Its operator can "
                "set AUTH_MODE.",
                code="callers_not_told_apart",
            )
        # A client finds what it has just done.
        await self.directory.written(caller.owner)
        try:
            entries, has_more = await self.directory.table.page(_wanted(scope, cursor, words))
        except UnknownCursorError as exc:
            raise _bad_cursor(exc.name) from exc
        return page([_object(scope, entry) for entry in entries], has_more=has_more)


def _wanted(scope: RequestScope, cursor: Cursor, words: str | None) -> EntryPage:
    bound_to = scope.caller.thread_id
    return EntryPage(
        scope.caller.owner,
        cursor.limit,
        is_descending=cursor.order != "asc",
        after=_conversation(scope, cursor.after, "after"),
        before=_conversation(scope, cursor.before, "before"),
        only=None if bound_to is None else scope.conversation(bound_to),
        words=words,
    )


def _object(scope: RequestScope, entry: Entry) -> Json:
    return {
        "id": scope.ids.thread(entry.conversation_id),
        "object": "thread",
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "title": entry.title,
        "metadata": entry.metadata,
    }


def _conversation(scope: RequestScope, thread_id: str | None, name: str) -> str | None:
    if thread_id is None:
        return None
    try:
        return scope.ids.conversation(thread_id)
    except BadIdError:
        raise _bad_cursor(name) from None


def _bad_cursor(name: str) -> BadRequestError:
    return BadRequestError(f"'{name}' names no thread of this list.", param=name, code="invalid_cursor")
