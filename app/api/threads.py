"""Threads."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.dependencies import ClientDep, ScopeDep
from app.api.idempotency import OnceDep
from app.api.lean_route import LeanRoute
from app.api.responses import answer, errors
from app.models.common import Deleted
from app.models.threads import Thread, ThreadCreate, ThreadUpdate

router = APIRouter(prefix="/threads", tags=["threads"], route_class=LeanRoute)


@router.post("", summary="Create a thread", response_model=Thread, responses=errors(404, 429, 502, 504))
async def create_thread(
    client: ClientDep, scope: ScopeDep, once: OnceDep, body: ThreadCreate | None = None
) -> Response:
    return await once.answer(lambda: client.threads.create(scope, body or ThreadCreate()))


@router.get(
    "/{thread_id}", summary="Read a thread", response_model=Thread, responses=errors(404, 429, 502, 504)
)
async def get_thread(thread_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.get(scope, thread_id))


@router.post(
    "/{thread_id}", summary="Change a thread", response_model=Thread, responses=errors(404, 429, 502, 504)
)
async def update_thread(thread_id: str, body: ThreadUpdate, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.update(scope, thread_id, body))


@router.delete(
    "/{thread_id}",
    summary="Delete a thread and its messages",
    response_model=Deleted,
    responses=errors(404, 429, 502, 504),
)
async def delete_thread(thread_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.delete(scope, thread_id))
