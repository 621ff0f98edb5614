"""The assistant's own vector store, for an admin panel."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from app.api.dependencies import ClientDep, CursorDep, ScopeDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.models.common import Deleted
from app.models.files import StoreFile, StoreFileCreate, StoreFilePage, VectorStore

router = APIRouter(
    prefix="/vector_stores/{vector_store_id}",
    tags=["vector stores"],
    route_class=ApiRoute,
    responses=errors(404, 502, 504),
)
FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]


@router.get("", summary="Read the assistant's vector store", response_model=VectorStore)
async def get_vector_store(vector_store_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.knowledge.get(scope, vector_store_id))


@router.get("/files", summary="List its files", response_model=StoreFilePage)
async def list_vector_store_files(
    vector_store_id: str,
    client: ClientDep,
    scope: ScopeDep,
    cursor: CursorDep,
    status: Annotated[
        FileStatus | None, Query(alias="filter", description="Only files in this state.")
    ] = None,
) -> Response:
    optional = {"after": cursor.after, "before": cursor.before, "filter": status}
    query: dict[str, str | int] = {"limit": cursor.limit, "order": cursor.order}
    query |= {name: value for name, value in optional.items() if value is not None}
    return answer(scope, await client.knowledge.list_files(scope, vector_store_id, query))


@router.post("/files", summary="Put an uploaded file in (API keys only)", response_model=StoreFile)
async def add_vector_store_file(
    vector_store_id: str, body: StoreFileCreate, client: ClientDep, scope: ScopeDep
) -> Response:
    client.unsupported.check(body, scope)
    return answer(scope, await client.knowledge.add_file(scope, vector_store_id, body))


@router.get("/files/{file_id}", summary="Read one of its files", response_model=StoreFile)
async def get_vector_store_file(
    vector_store_id: str, file_id: str, client: ClientDep, scope: ScopeDep
) -> Response:
    return answer(scope, await client.knowledge.get_file(scope, vector_store_id, file_id))


@router.delete("/files/{file_id}", summary="Take a file out (API keys only)", response_model=Deleted)
async def remove_vector_store_file(
    vector_store_id: str, file_id: str, client: ClientDep, scope: ScopeDep
) -> Response:
    return answer(scope, await client.knowledge.remove_file(scope, vector_store_id, file_id))
