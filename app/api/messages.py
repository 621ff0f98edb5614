"""Messages of a thread."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.dependencies import ClientDep, CursorDep, ScopeDep, current_scope
from app.api.idempotency import TAKES_KEY, Once
from app.api.json_route import JsonRoute
from app.api.responses import answer, errors
from app.core.errors import BadRequestError
from app.models.common import Deleted
from app.models.messages import Message, MessageCreate, MessagePage, MetadataUpdate

router = APIRouter(
    prefix="/threads/{thread_id}/messages",
    tags=["messages"],
    route_class=JsonRoute,
    responses=errors(404, 502, 504),
)


@router.post("", summary="Add a message", response_model=Message, openapi_extra=TAKES_KEY)
async def create_message(thread_id: str, body: MessageCreate, request: Request) -> Response:
    scope, messages = await current_scope(request), request.state.client.messages
    return await Once.of(request, scope).answer(lambda: messages.create(scope, thread_id, body))


@router.get("", summary="List messages", response_model=MessagePage)
async def list_messages(
    thread_id: str,
    request: Request,
    cursor: CursorDep,
    run_id: Annotated[str | None, Query(description="Only the messages that this run wrote.")] = None,
) -> Response:
    scope, messages = await current_scope(request), request.state.client.messages
    return answer(scope, await messages.list_page(scope, thread_id, cursor, run_id))


@router.get("/{message_id}", summary="Read a message", response_model=Message)
async def get_message(thread_id: str, message_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.messages.get(scope, thread_id, message_id))


@router.post(
    "/{message_id}", summary="Refused: a message's metadata cannot be stored", response_model=Message
)
async def update_message(
    thread_id: str, message_id: str, _body: MetadataUpdate, client: ClientDep, scope: ScopeDep
) -> Response:
    # An unknown message answers 404, as it does everywhere.
    await client.messages.get(scope, thread_id, message_id)
    raise BadRequestError(
        "The upstream stores no metadata of messages. Keep it in the thread's metadata.",
        param="metadata",
        code="message_metadata_not_stored",
    )


@router.delete("/{message_id}", summary="Delete a message", response_model=Deleted)
async def delete_message(thread_id: str, message_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.messages.delete(scope, thread_id, message_id))
