"""`/v1/vector_stores` and their files."""

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.routes.common import page_of, read_body, route
from app.embedded.services import services_of
from app.embedded.store.vector_stores import VectorStores
from app.embedded.wire import (
    VectorStoreCreate,
    VectorStoreFileCreate,
    VectorStoreFileUpdate,
    VectorStoreSearch,
    VectorStoreUpdate,
    json_response,
)


def _stores(request: Request) -> VectorStores:
    return services_of(request).vector_stores


async def create_store(request: Request) -> Response:
    """`POST /v1/vector_stores`."""
    return json_response(await _stores(request).create(await read_body(request, VectorStoreCreate)))


async def list_stores(request: Request) -> Response:
    """`GET /v1/vector_stores`."""
    return json_response(await _stores(request).page(page_of(request)))


async def get_store(request: Request) -> Response:
    """`GET /v1/vector_stores/{id}`."""
    return json_response(await _stores(request).get(request.path_params["id"]))


async def update_store(request: Request) -> Response:
    """`POST /v1/vector_stores/{id}`."""
    body = await read_body(request, VectorStoreUpdate)
    return json_response(await _stores(request).update(request.path_params["id"], body))


async def delete_store(request: Request) -> Response:
    """`DELETE /v1/vector_stores/{id}`."""
    store_id = request.path_params["id"]
    await _stores(request).delete(store_id)
    return json_response({"id": store_id, "object": "vector_store.deleted", "deleted": True})


async def search_store(request: Request) -> Response:
    """`POST /v1/vector_stores/{id}/search`."""
    body = await read_body(request, VectorStoreSearch)
    queries = [body.query] if isinstance(body.query, str) else body.query
    found = await _stores(request).search(
        request.path_params["id"], queries, body.max_num_results, body.filters
    )
    page = {"object": "vector_store.search_results.page", "search_query": queries, "data": found}
    return json_response({**page, "has_more": False, "next_page": None})


async def add_file(request: Request) -> Response:
    """`POST /v1/vector_stores/{id}/files`."""
    body = await read_body(request, VectorStoreFileCreate)
    return json_response(await _stores(request).add_file(request.path_params["id"], body))


async def list_files(request: Request) -> Response:
    """`GET /v1/vector_stores/{id}/files`."""
    status = request.query_params.get("filter")
    return json_response(
        await _stores(request).page_files(request.path_params["id"], status, page_of(request))
    )


async def get_file(request: Request) -> Response:
    """`GET /v1/vector_stores/{id}/files/{file}`."""
    path = request.path_params
    return json_response(await _stores(request).get_file(path["id"], path["file"]))


async def update_file(request: Request) -> Response:
    """`POST /v1/vector_stores/{id}/files/{file}`."""
    path, body = request.path_params, await read_body(request, VectorStoreFileUpdate)
    return json_response(await _stores(request).update_file(path["id"], path["file"], body.attributes or {}))


async def delete_file(request: Request) -> Response:
    """`DELETE /v1/vector_stores/{id}/files/{file}`."""
    path = request.path_params
    await _stores(request).delete_file(path["id"], path["file"])
    return json_response({"id": path["file"], "object": "vector_store.file.deleted", "deleted": True})


routes = [
    route("POST", "/v1/vector_stores", create_store),
    route("GET", "/v1/vector_stores", list_stores),
    route("GET", "/v1/vector_stores/{id}", get_store),
    route("POST", "/v1/vector_stores/{id}", update_store),
    route("DELETE", "/v1/vector_stores/{id}", delete_store),
    route("POST", "/v1/vector_stores/{id}/search", search_store),
    route("POST", "/v1/vector_stores/{id}/files", add_file),
    route("GET", "/v1/vector_stores/{id}/files", list_files),
    route("GET", "/v1/vector_stores/{id}/files/{file}", get_file),
    route("POST", "/v1/vector_stores/{id}/files/{file}", update_file),
    route("DELETE", "/v1/vector_stores/{id}/files/{file}", delete_file),
]
