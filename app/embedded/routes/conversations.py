"""`/v1/conversations` and their items."""

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.include import shown_items
from app.embedded.items import check_outputs_have_calls, input_items
from app.embedded.routes.common import included, page_of, read_body, route
from app.embedded.services import services_of
from app.embedded.wire import ConversationCreate, ConversationUpdate, ItemsCreate, json_response, list_page


async def create_conversation(request: Request) -> Response:
    """`POST /v1/conversations`."""
    body = await read_body(request, ConversationCreate)
    items = input_items(body.items, "items")
    return json_response(await services_of(request).conversations.create(body.metadata or {}, items))


async def get_conversation(request: Request) -> Response:
    """`GET /v1/conversations/{id}`."""
    return json_response(await services_of(request).conversations.get(request.path_params["id"]))


async def update_conversation(request: Request) -> Response:
    """`POST /v1/conversations/{id}`."""
    body = await read_body(request, ConversationUpdate)
    store = services_of(request).conversations
    return json_response(await store.replace_metadata(request.path_params["id"], body.metadata or {}))


async def delete_conversation(request: Request) -> Response:
    """`DELETE /v1/conversations/{id}`."""
    conversation_id = request.path_params["id"]
    await services_of(request).engine.delete_conversation(conversation_id)
    return json_response({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


async def create_items(request: Request) -> Response:
    """`POST /v1/conversations/{id}/items`."""
    services, conversation_id = services_of(request), request.path_params["id"]
    body = await read_body(request, ItemsCreate)
    fresh = input_items(body.items, "items")
    services.engine.require_unlocked(conversation_id)
    check_outputs_have_calls(await services.conversations.history(conversation_id), fresh)
    services.engine.require_unlocked(conversation_id)
    await services.conversations.append(conversation_id, fresh)
    return json_response(list_page(fresh, has_more=False))


async def list_items(request: Request) -> Response:
    """`GET /v1/conversations/{id}/items`."""
    page = page_of(request)
    store = services_of(request).conversations
    found = await store.page(request.path_params["id"], page)
    return json_response({**found, "data": shown_items(found["data"], included(request))})


async def get_item(request: Request) -> Response:
    """`GET /v1/conversations/{id}/items/{item}`."""
    path = request.path_params
    item = await services_of(request).conversations.get_item(path["id"], path["item"])
    return json_response(shown_items([item], included(request))[0])


async def delete_item(request: Request) -> Response:
    """`DELETE /v1/conversations/{id}/items/{item}`."""
    path = request.path_params
    return json_response(await services_of(request).conversations.delete_item(path["id"], path["item"]))


routes = [
    route("POST", "/v1/conversations", create_conversation),
    route("GET", "/v1/conversations/{id}", get_conversation),
    route("POST", "/v1/conversations/{id}", update_conversation),
    route("DELETE", "/v1/conversations/{id}", delete_conversation),
    route("POST", "/v1/conversations/{id}/items", create_items),
    route("GET", "/v1/conversations/{id}/items", list_items),
    route("GET", "/v1/conversations/{id}/items/{item}", get_item),
    route("DELETE", "/v1/conversations/{id}/items/{item}", delete_item),
]
