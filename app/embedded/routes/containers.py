"""`/v1/containers/{c}/files/{f}`: what code interpreter made."""

import mimetypes

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.routes.common import route
from app.embedded.services import services_of
from app.embedded.wire import json_response


async def get_container_file(request: Request) -> Response:
    """`GET /v1/containers/{c}/files/{f}`."""
    path = request.path_params
    return json_response((await services_of(request).containers.get(path["container"], path["file"])).body)


async def get_container_file_content(request: Request) -> Response:
    """`GET /v1/containers/{c}/files/{f}/content`."""
    path = request.path_params
    found = await services_of(request).containers.get(path["container"], path["file"])
    kind = mimetypes.guess_type(found.body["path"])[0] or "application/octet-stream"
    return Response(found.content, media_type=kind)


async def delete_container_file(request: Request) -> Response:
    """`DELETE /v1/containers/{c}/files/{f}`."""
    path = request.path_params
    await services_of(request).containers.delete(path["container"], path["file"])
    return json_response({"id": path["file"], "object": "container.file.deleted", "deleted": True})


routes = [
    route("GET", "/v1/containers/{container}/files/{file}", get_container_file),
    route("GET", "/v1/containers/{container}/files/{file}/content", get_container_file_content),
    route("DELETE", "/v1/containers/{container}/files/{file}", delete_container_file),
]
