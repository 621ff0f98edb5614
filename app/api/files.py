"""Files: uploads, downloads, and what is known of them."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.dependencies import ClientDep, ScopeDep, SettingsDep
from app.api.disconnect import ClientWatch
from app.api.event_stream import StreamBrokenOffError
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.core.errors import ClientGoneError
from app.core.files.multipart_reader import FormReader
from app.core.files.service import Download
from app.core.upstream.errors import UpstreamError
from app.models.common import Deleted
from app.models.files import File, FilePage

router = APIRouter(prefix="/files", tags=["files"], route_class=ApiRoute, responses=errors(502, 504))
# For bodies that are sent on in pieces, of which `MAX_UPLOAD_BYTES` limits the files.
NO_BODY_LIMIT = 1 << 60
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["assistants", "user_data", "vision"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
                    },
                }
            }
        },
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file's bytes.", "content": {"*/*": {}}},
    206: {"description": "The bytes asked for.", "content": {"*/*": {}}},
}


@router.post(
    "", summary="Upload a file", response_model=File, openapi_extra=_UPLOAD, max_body_size=NO_BODY_LIMIT
)
async def create_file(request: Request, client: ClientDep, scope: ScopeDep) -> Response:
    form = FormReader(request.headers.get("content-type", ""), request.stream(), client.files.uploads.limits)
    heed = partial(client.unsupported.ignore, scope=scope)
    return answer(scope, await client.files.create(scope, form, heed))


@router.get("", summary="List files (API keys only)", response_model=FilePage)
async def list_files(
    client: ClientDep,
    scope: ScopeDep,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Files a page.")] = 100,
    order: Annotated[Literal["asc", "desc"], Query(description="By creation.")] = "desc",
    after: Annotated[str | None, Query(description="Id of the last file of the page before.")] = None,
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> Response:
    optional = {"after": after, "purpose": purpose}
    query = {"limit": limit, "order": order} | {k: v for k, v in optional.items() if v}
    return answer(scope, await client.files.list_page(scope, query))


@router.get(
    "/{file_id}", summary="Read what is known of a file", response_model=File, responses=errors(404, 410)
)
async def get_file(file_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.files.get(scope, file_id))


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=Response,
    responses=_CONTENT | errors(404, 410, 416),
)
async def get_file_content(
    file_id: str,
    client: ClientDep,
    scope: ScopeDep,
    settings: SettingsDep,
    byte_range: Annotated[str | None, Header(alias="range", description="bytes=FIRST-LAST")] = None,
) -> Response:
    download = await client.files.download(scope, file_id, byte_range)
    return DownloadResponse(download, scope.headers, stall_seconds=settings.slow_reader_seconds)


@router.delete("/{file_id}", summary="Delete a file", response_model=Deleted, responses=errors(404))
async def delete_file(file_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.files.delete(scope, file_id))


class DownloadResponse(Response):
    """Sends a download; a failure after the headers aborts the connection, as they gave the length."""

    def __init__(self, download: Download, headers: Mapping[str, str], *, stall_seconds: float) -> None:
        super().__init__(status_code=download.status, headers=dict(headers) | dict(download.headers))
        if "content-length" not in download.headers:
            del self.headers["content-length"]
        self._stream = download.stream
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, and close the upstream connection in any case."""
        try:
            async with ClientWatch(receive):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                # A client that stops reading would hold an upstream connection for good.
                async for chunk in self._stream:
                    async with asyncio.timeout(self._stall_seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGoneError:
            return
        except (UpstreamError, TimeoutError) as exc:
            raise StreamBrokenOffError from exc
        finally:
            await self._stream.aclose()
