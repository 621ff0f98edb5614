"""Files: up, and down again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from app.api.dependencies import ClientDep, ScopeDep, SettingsDep
from app.api.file_streams import DownloadResponse
from app.api.responses import answer, errors
from app.core.files.multipart_reader import FormReader
from app.models.common import Deleted
from app.models.files import File, FilePage

router = APIRouter(prefix="/files", tags=["files"])

NO_BODY_LIMIT = 1 << 60
"""For routes whose bodies pass through in pieces and are limited by `MAX_UPLOAD_BYTES` on the way."""

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
    "",
    summary="Upload a file",
    response_model=File,
    responses=errors(413, 429, 502, 504),
    openapi_extra=_UPLOAD,
    max_body_size=NO_BODY_LIMIT,
)
async def create_file(request: Request, client: ClientDep, scope: ScopeDep) -> Response:
    form = FormReader(request.headers.get("content-type", ""), request.stream(), client.files.uploads.limits)
    return answer(scope, await client.files.create(scope, form))


@router.get(
    "", summary="List files (API keys only)", response_model=FilePage, responses=errors(403, 429, 502, 504)
)
async def list_files(
    client: ClientDep,
    scope: ScopeDep,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Files a page.")] = 100,
    order: Annotated[Literal["asc", "desc"], Query(description="By creation.")] = "desc",
    after: Annotated[str | None, Query(description="Id of the last file of the page before.")] = None,
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> Response:
    optional = {"after": after, "purpose": purpose}
    query = {"limit": limit, "order": order} | {k: v for k, v in optional.items() if v is not None}
    return answer(scope, await client.files.list_page(scope, query))


@router.get(
    "/{file_id}",
    summary="Read what is known of a file",
    response_model=File,
    responses=errors(404, 410, 429, 502, 504),
)
async def get_file(file_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.files.get(scope, file_id))


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=Response,
    responses=_CONTENT | errors(403, 404, 410, 416, 429, 502, 504),
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


@router.delete(
    "/{file_id}", summary="Delete a file", response_model=Deleted, responses=errors(403, 404, 429, 502, 504)
)
async def delete_file(file_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.files.delete(scope, file_id))
