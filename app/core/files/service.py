"""Files: uploads, reads and downloads; a file belongs to the caller whose signature its id carries."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.core.background import BackgroundTasks
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import (
    BadRequestError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    RangeError,
    ServiceError,
    not_found,
)
from app.core.files.knowledge_store import KnowledgeStore
from app.core.files.multipart_reader import FormReader, IncomingFile
from app.core.files.pictures import HeldBytes, Pictures
from app.core.files.routes import FileRoutes
from app.core.files.upload import MAX_INLINE_BYTES, Uploads
from app.core.upstream.errors import UpstreamError, UpstreamMissingError, UpstreamRefusedError, not_found_as
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import read
from app.translate.attachments import Attached
from app.translate.events import Json
from app.translate.objects import page
from app.translate.upstream_types import checked_file, checked_files
from app.utils.filenames import download_headers, is_image
from app.utils.hosts import with_path

# RFC 9110 lets a server ignore ranges, so malformed ones are not sent on.
_RANGE = re.compile(r"bytes=[0-9,\- ]{1,200}\Z")
# The upstream's other headers describe its connection or its caches, not the file.
_PASSED_HEADERS = ("content-length", "content-range", "accept-ranges", "etag", "last-modified")


@dataclass(frozen=True, slots=True)
class Download:
    """An open download: the answer's status and headers, and the stream of bytes."""

    status: int
    headers: Mapping[str, str]
    stream: UpstreamStream


class Files:
    """The service behind `/files`; file ids are bound to their owner, as thread ids are."""

    def __init__(
        self,
        upstream: Upstream,
        pictures: Pictures,
        knowledge: KnowledgeStore,
        background: BackgroundTasks,
        settings: Settings,
    ) -> None:
        self._upstream = upstream
        self._pictures = pictures
        self._knowledge = knowledge
        self._background = background
        self.routes = FileRoutes(upstream)
        self.uploads = Uploads(upstream, settings)

    async def create(self, scope: RequestScope, form: FormReader, heed: Callable[[list[str]], None]) -> Json:
        """Upload the one file of a form as it arrives; see `Uploads.only`. Upstream: POST files."""
        await self.routes.check_files()
        return file_object(await self.uploads.only(form, heed), scope)

    async def add(self, form: FormReader, file: IncomingFile, before: Sequence[Attached]) -> Attached:
        """Take the present file of a message's form; `before` are the files that came earlier.

        Upstream: POST files. Where there is no such route, the file is held for its message.
        """
        if not await self.routes.take_files():
            room = MAX_INLINE_BYTES - sum(len(each.content or b"") for each in before)
            content = await self.uploads.held(form, file, room)
            return Attached("", file.filename, content=content)
        purpose = "vision" if is_image(file.filename) else "user_data"
        made = await self.uploads.add(form, file, purpose)
        return Attached(str(made["id"]), file.filename)

    async def get(self, scope: RequestScope, file_id: str) -> Json:
        """Read a file's object. Upstream: GET files/{f}, or GET containers/{c}/files/{f}.

        A picture is read out of its item.
        """
        if picture := await self._pictures.find(scope, file_id):
            return picture.file_object(file_id)
        upstream_id, container_id = scope.file(file_id)
        return file_object(await self._found(upstream_id, container_id), scope)

    async def find(self, scope: RequestScope, file_id: str, param: str) -> Json:
        """Return the upstream's object of an uploaded file; `param` is the field that a 404 names."""
        is_picture = scope.picture(file_id, param) is not None
        if is_picture or scope.file(file_id, param)[1] is not None:
            raise BadRequestError(
                "A generated file cannot be attached. Download it and upload it again.", param=param
            )
        upstream_id, _ = scope.file(file_id, param)
        with not_found_as("file", param=param):
            async with self.routes.needed(param):
                return await read(self._upstream, f"/files/{upstream_id}", check=checked_file)

    async def list_page(self, scope: RequestScope, query: Mapping[str, str | int]) -> Json:
        """List the upstream's files, which are the operator's. Upstream: GET files."""
        if not scope.caller.is_trusted:
            raise ForbiddenError("Only API keys may list files. Keep the ids of your own uploads.")
        sent = dict(query)
        if "after" in sent:
            try:
                sent["after"], _ = scope.file(str(sent["after"]), "after")
            except NotFoundError as exc:
                raise BadRequestError("'after' names no file.", param="after", code="invalid_cursor") from exc
        async with self.routes.needed():
            found = await read(self._upstream, "/files", sent, check=checked_files)
        objects = [file_object(each, scope) for each in found["data"]]
        return page(objects, has_more=bool(found.get("has_more")))

    async def delete(self, scope: RequestScope, file_id: str) -> Json:
        """Delete a file. Upstream: DELETE files/{f}, or DELETE containers/{c}/files/{f}."""
        if scope.picture(file_id) is not None:
            raise BadRequestError(
                "The picture is part of its thread and is deleted with it.",
                param="file_id",
                code="picture_not_deletable",
            )
        upstream_id, container_id = scope.file(file_id)
        await self._check_knowledge(scope, upstream_id, reads=False)
        with not_found_as("file"):
            async with self.routes.needed():
                await self._upstream.request("DELETE", _path(upstream_id, container_id))
        return {"id": file_id, "object": "file", "deleted": True}

    async def download(self, scope: RequestScope, file_id: str, range_header: str | None) -> Download:
        """Open a file's content, whole or in part. Upstream: GET …/content, and the object for its name.

        A picture is read out of its item, and comes whole.
        """
        if picture := await self._pictures.find(scope, file_id):
            held = HeldBytes(picture)
            return Download(held.status, held.headers, held)
        upstream_id, container_id = scope.file(file_id)
        await self._check_knowledge(scope, upstream_id, reads=True)
        found = await self._found(upstream_id, container_id)
        # Of a compressed body neither ranges nor the length would be those of the file.
        sent = {"accept-encoding": "identity"}
        if range_header and _RANGE.match(range_header):
            sent["range"] = range_header
        try:
            path = _path(upstream_id, container_id) + "/content"
            stream = await self._upstream.stream("GET", path, headers=sent)
        except (UpstreamMissingError, UpstreamRefusedError) as exc:
            raise _not_served(exc, container_id, found.get("bytes")) from exc
        passed = {name: stream.headers[name] for name in _PASSED_HEADERS if name in stream.headers}
        return Download(stream.status, passed | download_headers(_name_of(found)), stream)

    def forget(self, files: Sequence[Attached]) -> None:
        """Delete files that are not needed after all, in the background."""
        for file in files:
            if file.file_id:
                self._background.spawn(self._forget(file.file_id))

    async def erase(self, upstream_ids: Iterable[str]) -> None:
        """Delete files now, but for the assistant's own. Upstream: DELETE files/{f}."""
        for upstream_id in upstream_ids:
            if not await self._knowledge.holds(upstream_id):
                await self._forget(upstream_id)

    async def _forget(self, upstream_id: str) -> None:
        with suppress(UpstreamMissingError):
            await self._upstream.request("DELETE", f"/files/{upstream_id}")

    async def _found(self, upstream_id: str, container_id: str | None) -> Json:
        try:
            async with self.routes.needed():
                return await read(self._upstream, _path(upstream_id, container_id), check=checked_file)
        except (UpstreamMissingError, UpstreamRefusedError) as exc:
            if container_id is not None:
                raise _expired() from exc
            if isinstance(exc, UpstreamRefusedError):
                raise
            raise not_found("file") from exc

    async def _check_knowledge(self, scope: RequestScope, upstream_id: str, *, reads: bool) -> None:
        """Raise `ForbiddenError` for the operator's documents: callers know their ids from citations."""
        if scope.caller.is_trusted or (reads and self._knowledge.is_exposed):
            return
        if await self._knowledge.holds(upstream_id):
            raise ForbiddenError(
                "The file belongs to the assistant's knowledge, which is not open to this caller.",
                param="file_id",
                code="knowledge_not_exposed",
            )


def file_object(found: Json, scope: RequestScope) -> Json:
    """Return the public File, with every key, for an upstream file or container file."""
    container_id = found.get("container_id")
    return {
        "id": scope.ids.file(str(found.get("id")), str(container_id) if container_id else None),
        "object": "file",
        "bytes": found.get("bytes") or 0,
        "created_at": found.get("created_at") or 0,
        "expires_at": found.get("expires_at"),
        "filename": _name_of(found),
        "purpose": found.get("purpose") or "assistants_output",
        "status": found.get("status") or "processed",
        "status_details": found.get("status_details"),
    }


def file_url(settings: Settings) -> Callable[[str], str]:
    """Return a function from a file id to its content's URL, which is relative without `PUBLIC_URL`."""
    base = with_path(settings.public_url or "", settings.path_prefix)
    return lambda file_id: f"{base}/api/v1/files/{file_id}/content"


def _name_of(found: Json) -> str:
    return str(found.get("filename") or PurePosixPath(str(found.get("path") or "")).name or "file")


def _path(upstream_id: str, container_id: str | None) -> str:
    return f"/containers/{container_id}/files/{upstream_id}" if container_id else f"/files/{upstream_id}"


def _not_served(exc: UpstreamError, container_id: str | None, size: object) -> ServiceError:
    if exc.upstream_status == 416:
        return RangeError(size if isinstance(size, int) else None)
    if container_id is not None:
        return _expired()
    if isinstance(exc, UpstreamMissingError):
        return not_found("file")
    return BadRequestError(
        "The upstream hands files of this purpose to the model only and does not give them back.",
        param="file_id",
        code="download_not_allowed",
    )


def _expired() -> GoneError:
    return GoneError(
        "The file was made in a container that has expired. Ask the assistant to make it again.",
        param="file_id",
        code="file_expired",
    )
