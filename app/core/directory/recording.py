"""Notes in the directory what passes to the upstream: new threads, turns, messages, metadata, deletions."""

import re
from typing import Unpack

from app.core.directory.thread_directory import ThreadDirectory
from app.core.upstream.port import CallOptions, FileForm, Upstream, UpstreamStream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.upstream_types import checked_conversation

_CONVERSATION = re.compile(r"/conversations/([^/?]+)(/items)?\Z")


class RecordedUpstream:
    """Implements `Upstream`: passes everything on, and notes what has succeeded."""

    def __init__(self, upstream: Upstream, directory: ThreadDirectory) -> None:
        self._upstream = upstream
        self._directory = directory

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> bytes:
        """Send a request; see `Upstream.request`."""
        answer = await self._upstream.request(method, path, **options)
        if method != "GET" and self._directory.is_used:
            await self._note(method, path, options.get("body") or {}, answer)
        return answer

    async def stream(self, method: str, path: str, **options: Unpack[CallOptions]) -> UpstreamStream:
        """Open a stream; see `Upstream.stream`."""
        stream = await self._upstream.stream(method, path, **options)
        if method == "POST" and self._directory.is_used:
            self._note_turn(path, options.get("body") or {})
        return stream

    async def upload(self, path: str, **form: Unpack[FileForm]) -> bytes:
        """Pass a file on; see `Upstream.upload`."""
        return await self._upstream.upload(path, **form)

    async def aclose(self) -> None:
        """Close the upstream."""
        await self._upstream.aclose()

    async def _note(self, method: str, path: str, body: Json, answer: bytes) -> None:
        found = _CONVERSATION.match(path)
        if found is None and method == "POST":
            if path == "/conversations":
                await self._directory.created(parsed(answer, checked_conversation), body.get("items"))
            else:
                self._note_turn(path, body)
        elif found and method == "DELETE" and not found[2]:
            await self._directory.removed(found[1])
        elif found and method == "POST":
            if found[2]:
                self._directory.active(found[1], body.get("items"))
            else:
                self._directory.metadata_changed(found[1], body.get("metadata") or {})

    def _note_turn(self, path: str, body: Json) -> None:
        if path == "/responses" and isinstance(conversation_id := body.get("conversation"), str):
            self._directory.active(conversation_id, body.get("input"))
