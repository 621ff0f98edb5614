"""Attachments: files of messages, for the model or for the thread's tools."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress

import structlog

from app.core.assistant import Assistant
from app.core.background import BackgroundTasks
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, OverrideForbiddenError, not_found
from app.core.files.knowledge_store import KnowledgeStore
from app.core.files.routes import NoFilesError, NoToolError
from app.core.files.service import Files
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.errors import UpstreamError, UpstreamMissingError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed, read
from app.models.messages import MessageCreate
from app.translate.attachments import (
    CODE_INTERPRETER,
    FILE_SEARCH,
    Attached,
    file_ids_of,
    named_files,
    resources_metadata,
    resources_of,
    store_ids_of,
    thread_resources,
)
from app.translate.events import Json
from app.translate.upstream_types import checked_store, checked_store_file, checked_store_files

_log = structlog.get_logger(__name__)
# A run may follow at once and should find the file, but a slow one must not hold the request for long.
_READY_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0)
_STORE_PAGE = 100
_STORE_NAME = "Attachments of a Soloist thread"


class Attachments:
    """Finds the files of messages, and stores a thread's tool resources."""

    def __init__(
        self,
        upstream: Upstream,
        files: Files,
        knowledge: KnowledgeStore,
        metadata: ConversationMetadata,
        background: BackgroundTasks,
        assistant: Assistant,
        settings: Settings,
    ) -> None:
        self._upstream = upstream
        self._files = files
        self.routes = files.routes
        self._knowledge = knowledge
        self._metadata = metadata
        self._background = background
        self._tools_of_files = (assistant.tool_of_files,) if assistant.tool_of_files else ()
        self._max_files = settings.max_files
        self._store_days = settings.thread_store_days

    async def find(
        self, scope: RequestScope, messages: Sequence[MessageCreate], prefix: str = ""
    ) -> list[list[Attached]]:
        """Look up the files that each message attaches. Upstream: GET files/{f}, once for each file."""
        wanted: list[tuple[int, str, str, tuple[str, ...]]] = []
        for number, message in enumerate(messages):
            name = f"{prefix}[{number}]." if prefix else ""
            for place, attachment in enumerate(message.attachments or []):
                tools: tuple[str, ...] = tuple(dict.fromkeys(tool.type for tool in attachment.tools))
                wanted.append((number, attachment.file_id, f"{name}attachments[{place}].file_id", tools))
            for place, file_id in enumerate(message.file_ids or []):
                wanted.append((number, file_id, f"{name}file_ids[{place}]", self._tools_of_files))
            if sum(each[0] == number for each in wanted) > self._max_files:
                param = f"{name}{'attachments' if message.attachments else 'file_ids'}"
                raise BadRequestError(f"At most {self._max_files} files a message.", param=param)
        known = await asyncio.gather(*(self._known(scope, *each[1:]) for each in wanted))
        found: list[list[Attached]] = [[] for _ in messages]
        for (number, _, _, tools), file in zip(wanted, known, strict=True):
            found[number].append(Attached(str(file["id"]), str(file.get("filename") or "file"), tools))
        return found

    async def provide(self, resources: Json, attached: Iterable[Attached]) -> Json:
        """Return a thread's resources with `attached` added; creates its vector store on first use.

        Upstream: POST vector_stores, POST vector_stores/{v}/files.
        """
        files = list(attached)
        code = [file.file_id for file in files if file.is_for(CODE_INTERPRETER)]
        search = [file.file_id for file in files if file.is_for(FILE_SEARCH)]
        merged = thread_resources(
            store_ids_of(resources), list(dict.fromkeys([*file_ids_of(resources), *code]))
        )
        check_fits(merged)
        if search:
            own = next((store for store in store_ids_of(resources) if self._is_own(store)), None)
            store_id = own or await self._new_store()
            await self._fill(store_id, search, is_new=own is None)
            stores = list(dict.fromkeys([*store_ids_of(resources), store_id]))
            merged = thread_resources(stores, file_ids_of(merged))
        return merged

    async def remember(self, conversation_id: str, attached: Sequence[Attached]) -> None:
        """Give files to the tools of an existing thread, and store that in its metadata."""
        if not any(file.tools for file in attached):
            return
        # Two messages at the same time must not each create a store.
        async with self._metadata.changing(conversation_id):
            conversation = await self._metadata.current(conversation_id)
            before = resources_of(conversation.get("metadata"))
            after = await self.provide(before, attached)
            if after != before:
                await self._metadata.set_private(conversation, resources_metadata(after))

    async def requested(self, scope: RequestScope, asked: Json, before: Json | None = None) -> Json:
        """Return the resources that `tool_resources` ask for; raises `OverrideForbiddenError` and others."""
        if not scope.caller.is_trusted:
            raise OverrideForbiddenError(
                "This service does not let this caller choose files or stores for a thread. Leave it out.",
                param="tool_resources",
            )
        try:
            search, code = asked.get(FILE_SEARCH), asked.get(CODE_INTERPRETER)
            stores, code_files = named_files(search, "vector_store_ids"), named_files(code, "file_ids")
            made = search.get("vector_stores") if isinstance(search, dict) else None
            search_files = [named_files(each, "file_ids") for each in made or []]
        except (ValueError, TypeError) as exc:
            raise BadRequestError(f"Invalid 'tool_resources': {exc}.", param="tool_resources") from exc
        known = [*self._knowledge.store_ids, *store_ids_of(before or {})]
        if any(store not in known for store in stores):
            raise not_found("vector_store", param="tool_resources.file_search.vector_store_ids")
        param = "tool_resources.code_interpreter.file_ids"
        resources = thread_resources(stores, [scope.file(file_id, param)[0] for file_id in code_files])
        check_fits(resources)
        param = "tool_resources.file_search.vector_stores"
        chosen = [scope.file(each, param)[0] for each in itertools.chain.from_iterable(search_files)]
        return await self.provide(resources, [Attached(each, "", (FILE_SEARCH,)) for each in chosen])

    def discard(self, resources: Json, *, kept: Json | None = None) -> None:
        """Delete a thread's own vector stores in the background; the assistant's stores stay."""
        keep = store_ids_of(kept or {})
        for store_id in store_ids_of(resources):
            if self._is_own(store_id) and store_id not in keep:
                self._background.spawn(self._delete_store(store_id))

    async def _known(self, scope: RequestScope, file_id: str, param: str, tools: Sequence[str]) -> Json:
        try:
            return await self._files.find(scope, file_id, param)
        except NoFilesError as exc:
            if tools:
                raise NoToolError(tools[0], param.replace("file_id", "tools")) from exc
            raise

    async def stored_files(self, resources: Json) -> set[str]:
        """Return the ids of the files in a thread's own stores. Upstream: GET vector_stores/{v}/files."""
        found: set[str] = set()
        for store_id in filter(self._is_own, store_ids_of(resources)):
            # The store may have expired.
            with suppress(UpstreamMissingError):
                found |= await self._files_in(store_id)
        return found

    async def _files_in(self, store_id: str) -> set[str]:
        found: set[str] = set()
        query: dict[str, str | int] = {"limit": _STORE_PAGE}
        while True:
            files = await read(
                self._upstream, f"/vector_stores/{store_id}/files", query, check=checked_store_files
            )
            new = [str(file["id"]) for file in files["data"]]
            if found.issuperset(new):
                return found
            found.update(new)
            query["after"] = new[-1]

    def _is_own(self, store_id: str) -> bool:
        return store_id not in self._knowledge.store_ids

    async def _new_store(self) -> str:
        # A thread that is deleted elsewhere leaves its store behind.
        expiry = {"anchor": "last_active_at", "days": self._store_days}
        body = {"name": _STORE_NAME, "expires_after": expiry}
        async with self.routes.needed_for(FILE_SEARCH, "attachments"):
            made = await self._upstream.request("POST", "/vector_stores", body=body)
        return str(parsed(made, checked_store)["id"])

    async def _fill(self, store_id: str, file_ids: list[str], *, is_new: bool) -> None:
        try:
            await asyncio.gather(*(self._add(store_id, file_id) for file_id in file_ids))
        except BaseException:
            # No thread names the store yet, so nothing else would delete it.
            if is_new:
                self._background.spawn(self._delete_store(store_id))
            raise

    async def _add(self, store_id: str, file_id: str) -> None:
        path = f"/vector_stores/{store_id}/files"
        added = await self._upstream.request("POST", path, body={"file_id": file_id})
        file = parsed(added, checked_store_file)
        for pause in _READY_PAUSES_SECONDS:
            if file.get("status") != "in_progress":
                break
            await asyncio.sleep(pause)
            file = await read(self._upstream, f"{path}/{file_id}", check=checked_store_file)
        if file.get("status") != "completed":
            _log.warning("attachment_not_searchable", status=file.get("status"))

    async def _delete_store(self, store_id: str) -> None:
        try:
            await self._upstream.request("DELETE", f"/vector_stores/{store_id}")
        except UpstreamError as exc:
            _log.warning("vector_store_left_behind", store=store_id, code=exc.code)


def check_fits(resources: Json) -> None:
    """Raise `BadRequestError` for more files than a thread's metadata can hold."""
    try:
        resources_metadata(resources)
    except ValueError as exc:
        raise BadRequestError(
            "The thread holds as many files for code_interpreter as it can remember. Start a new thread.",
            param="attachments",
            code="too_many_files",
        ) from exc
