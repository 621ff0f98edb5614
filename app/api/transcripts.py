"""Transcripts of threads: out to keep, in to go on."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app.api.dependencies import ClientDep, ScopeDep, SettingsDep
from app.api.file_links import file_url
from app.api.responses import answer, errors
from app.core.errors import BadRequestError
from app.models.messages import Message
from app.models.threads import Thread

router = APIRouter(prefix="/threads", tags=["transcripts"])

_MAX_IMPORT_BYTES = 64 * 1024 * 1024
_IMPORT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "description": "A list page of messages, a bare list of them, or an export.",
                    "anyOf": [
                        {"type": "array", "minItems": 1, "items": {"type": "object"}},
                        {
                            "type": "object",
                            "required": ["data"],
                            "properties": {
                                "data": {"type": "array", "minItems": 1, "items": {"type": "object"}}
                            },
                        },
                    ],
                }
            }
        },
    }
}


class ThreadExport(BaseModel):
    """A thread with everything that was said."""

    object: Literal["thread.export"]
    thread: Thread
    data: list[Message] = Field(description="All messages, oldest first.")
    tool_calls: list[dict[str, Any]] = Field(
        description="What tools did, each `after` the message with that id."
    )


class ThreadImport(BaseModel):
    """The thread that was made of a transcript."""

    object: Literal["thread.import"]
    thread: Thread
    imported: int = Field(description="Messages that the thread now has.")
    skipped: int = Field(description="Messages left out because they hold nothing.")


@router.get(
    "/{thread_id}/export",
    summary="Export a thread",
    response_model=ThreadExport,
    responses=errors(404, 429, 502, 504) | {200: {"content": {"text/markdown": {}}}},
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


@router.post(
    "/import",
    summary="Make a thread of an exported one",
    response_model=ThreadImport,
    responses=errors(413, 429, 502, 504),
    openapi_extra=_IMPORT,
    max_body_size=_MAX_IMPORT_BYTES,
)
async def import_thread(request: Request, client: ClientDep, scope: ScopeDep) -> Response:
    try:
        data = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise BadRequestError(
            "The body is no valid JSON. Check quotes, commas and brackets.", param="body", code="invalid_json"
        ) from None
    return answer(scope, await client.transcripts.create(scope, data))
