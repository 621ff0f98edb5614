"""`/v1/files`: upload, list, read, download, delete."""

import mimetypes

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from app.embedded.errors import ApiError
from app.embedded.routes.common import page_of, route
from app.embedded.services import services_of
from app.embedded.store.files import Upload
from app.embedded.wire import json_response

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MIN_EXPIRY, _MAX_EXPIRY = 3600, 2592000
_MAX_PAGE = 10000


async def create_file(request: Request) -> Response:
    """`POST /v1/files`: the form's parts are spooled to disk, never whole in memory."""
    services = services_of(request)
    async with request.form(max_files=1, max_fields=20) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(
                "'file' is a required property: send it as a multipart part with a filename.",
                param="file",
                code="missing_required_parameter",
            )
        if (upload.size or 0) > services.settings.max_file_bytes:
            limit = services.settings.max_file_bytes
            raise ApiError(f"File is too large: the maximum is {limit} bytes.", status=413, param="file")
        name = upload.filename or "upload"
        stored = await services.files.add(Upload(name, _purpose(form), upload.file, _expiry(form)))
    return json_response(stored)


def _purpose(form: FormData) -> str:
    purpose = form.get("purpose")
    if purpose not in _PURPOSES:
        supported = ", ".join(f"'{name}'" for name in _PURPOSES)
        raise ApiError(
            f"Invalid 'purpose'. Supported values are: {supported}.", param="purpose", code="invalid_value"
        )
    return str(purpose)


def _expiry(form: FormData) -> int | None:
    given = form.get("expires_after[seconds]")
    if given is None:
        return None
    if form.get("expires_after[anchor]") != "created_at":
        raise ApiError("Invalid 'expires_after.anchor': expected 'created_at'.", param="expires_after.anchor")
    if not (isinstance(given, str) and given.isdecimal() and _MIN_EXPIRY <= int(given) <= _MAX_EXPIRY):
        message = f"Invalid 'expires_after.seconds': expected {_MIN_EXPIRY} to {_MAX_EXPIRY}."
        raise ApiError(message, param="expires_after.seconds")
    return int(given)


async def list_files(request: Request) -> Response:
    """`GET /v1/files`."""
    page = page_of(request, limit=_MAX_PAGE, max_limit=_MAX_PAGE)
    return json_response(await services_of(request).files.page(request.query_params.get("purpose"), page))


async def get_file(request: Request) -> Response:
    """`GET /v1/files/{id}`."""
    return json_response(await services_of(request).files.get(request.path_params["id"]))


async def delete_file(request: Request) -> Response:
    """`DELETE /v1/files/{id}`."""
    file_id = request.path_params["id"]
    await services_of(request).files.delete(file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


async def get_file_content(request: Request) -> Response:
    """`GET /v1/files/{id}/content`, whole or by range."""
    services = services_of(request)
    file = await services.files.get(request.path_params["id"])
    if file["purpose"] == "assistants":
        raise ApiError("Not allowed to download files of purpose: assistants")
    kind = mimetypes.guess_type(file["filename"])[0] or "application/octet-stream"
    return FileResponse(services.files.path(file["id"]), media_type=kind, filename=file["filename"])


routes = [
    route("POST", "/v1/files", create_file),
    route("GET", "/v1/files", list_files),
    route("GET", "/v1/files/{id}", get_file),
    route("DELETE", "/v1/files/{id}", delete_file),
    route("GET", "/v1/files/{id}/content", get_file_content),
]
