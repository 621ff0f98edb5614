"""Threads, and the export and import of their transcripts."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.api.dependencies import ClientDep, CursorDep, ScopeDep, SettingsDep, current_scope
from app.api.idempotency import TAKES_KEY, Once
from app.api.json_body import readable
from app.api.json_route import ApiRoute, JsonRoute
from app.api.responses import answer, errors
from app.core.errors import BadRequestError
from app.core.files.service import file_url
from app.models.common import Deleted
from app.models.feedback import FeedbackRead
from app.models.messages import Message
from app.models.threads import Thread, ThreadCreate, ThreadPage, ThreadUpdate

router = APIRouter(prefix="/threads", tags=["threads"], route_class=JsonRoute, responses=errors(502, 504))
# Goes before `router`, whose `/threads/{thread_id}` would take `/threads/import`.
transcripts_router = APIRouter(
    prefix="/threads", tags=["transcripts"], route_class=ApiRoute, responses=errors(502, 504)
)

# Transcripts are much larger than other bodies, so MAX_BODY_BYTES does not apply to them.
_MAX_IMPORT_BYTES = 64 * 1024 * 1024
_MESSAGE_LIST = {"type": "array", "minItems": 1, "items": {"type": "object"}}
# What lists and exports hold beside the messages; feedback is of the exported thread's answers.
_BESIDE = {"object", "thread", "tool_calls", "feedback", "first_id", "last_id", "has_more"}
_IMPORT_FIELDS = {"data", "messages"} | _BESIDE
_IMPORT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "description": "A list page of messages, a bare list of them, or an export.",
                    "anyOf": [
                        _MESSAGE_LIST,
                        {"type": "object", "required": ["data"], "properties": {"data": _MESSAGE_LIST}},
                    ],
                }
            }
        },
    }
}


class ThreadExport(BaseModel):
    """A thread with all its messages, tool calls and feedback."""

    object: Literal["thread.export"]
    thread: Thread
    data: list[Message] = Field(description="All messages, oldest first.")
    tool_calls: list[dict[str, Any]] = Field(
        description="What tools did, each `after` the message with that id."
    )
    feedback: list[FeedbackRead] = Field(description="What its user said of answers, where a store keeps it.")


class ThreadImport(BaseModel):
    """The result of an import."""

    object: Literal["thread.import"]
    thread: Thread
    imported: int = Field(description="Messages that the thread now has.")
    skipped: int = Field(description="Messages left out because they hold nothing.")


@router.post(
    "", summary="Create a thread", response_model=Thread, responses=errors(404), openapi_extra=TAKES_KEY
)
async def create_thread(request: Request, body: ThreadCreate | None = None) -> Response:
    scope, threads = await current_scope(request), request.state.client.threads
    return await Once.of(request, scope).answer(lambda: threads.create(scope, body or ThreadCreate()))


@router.get(
    "",
    summary="List the caller's threads, last active first",
    response_model=ThreadPage,
    responses=errors(403, 501, 503),
)
async def list_threads(
    client: ClientDep,
    scope: ScopeDep,
    cursor: CursorDep,
    query: Annotated[
        str | None, Query(max_length=200, description="Words that the title has in it, in any case.")
    ] = None,
) -> Response:
    return answer(scope, await client.thread_list.list_page(scope, cursor, query))


@router.get("/{thread_id}", summary="Read a thread", response_model=Thread, responses=errors(404))
async def get_thread(thread_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.get(scope, thread_id))


@router.post("/{thread_id}", summary="Change a thread", response_model=Thread, responses=errors(404, 501))
async def update_thread(thread_id: str, body: ThreadUpdate, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.update(scope, thread_id, body))


@router.delete(
    "/{thread_id}", summary="Delete a thread and its messages", response_model=Deleted, responses=errors(404)
)
async def delete_thread(thread_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.threads.delete(scope, thread_id))


@transcripts_router.get(
    "/{thread_id}/export",
    summary="Export a thread",
    response_model=ThreadExport,
    responses=errors(404) | {200: {"content": {"text/markdown": {}}}},
)
async def export_thread(
    thread_id: str,
    client: ClientDep,
    scope: ScopeDep,
    settings: SettingsDep,
    form: Annotated[
        Literal["json", "markdown"], Query(alias="format", description="To go on with, or to read.")
    ] = "json",
) -> Response:
    if form == "json":
        headers = {"content-disposition": f'attachment; filename="{thread_id}.json"'}
        return answer(scope, await client.transcripts.export_json(scope, thread_id), headers=headers)
    text = await client.transcripts.export_markdown(scope, thread_id, file_url(settings))
    headers = {"content-disposition": f'attachment; filename="{thread_id}.md"'}
    return Response(text, media_type="text/markdown", headers=scope.headers | headers)


@transcripts_router.post(
    "/import",
    summary="Make a thread of an exported one",
    response_model=ThreadImport,
    openapi_extra=_IMPORT,
    max_body_size=_MAX_IMPORT_BYTES,
)
async def import_thread(request: Request, client: ClientDep, scope: ScopeDep) -> Response:
    try:
        data = orjson.loads(await (await readable(request)).body())
    except orjson.JSONDecodeError:
        raise BadRequestError(
            "The body is no valid JSON. Check quotes, commas and brackets.", param="body", code="invalid_json"
        ) from None
    if isinstance(data, dict) and (unknown := data.keys() - _IMPORT_FIELDS):
        client.unsupported.ignore(sorted(unknown), scope)
    return answer(scope, await client.transcripts.create(scope, data))
