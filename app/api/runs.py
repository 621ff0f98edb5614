"""Runs of a thread, as JSON and as the Assistants event stream."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from app.api.dependencies import ClientDep, CursorDep, RegistryDep, ScopeDep, SettingsDep, current_scope
from app.api.idempotency import TAKES_KEY
from app.api.json_route import JsonRoute
from app.api.openapi import RUN_STREAM, event_stream
from app.api.responses import answer, errors
from app.api.run_responses import RunRequest, followed_stream, placed, run_once, run_request
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError
from app.core.files.service import file_url
from app.core.runs.follow import FollowedRun
from app.core.services.runs import Runs
from app.core.unsupported_params import STEP_RESULTS
from app.models.messages import MetadataUpdate
from app.models.runs import Run, RunCreate, RunPage, RunStep, RunStepPage, ThreadRunCreate, ToolOutputsSubmit
from app.translate.citations import CitingEncoder
from app.translate.events import Json
from app.translate.marks import AssistantsStage
from app.translate.protocols.assistants_sse import AssistantsEncoder

router = APIRouter(prefix="/threads", tags=["runs"], route_class=JsonRoute, responses=errors(404, 502, 504))
# No event has a larger number, and int() is slow for very long texts.
_EVENT_ID = re.compile(r"[0-9]{1,18}\Z")
_INCLUDE: Json = {
    "name": "include[]",
    "in": "query",
    "required": False,
    "schema": {
        "type": "array",
        "items": {"type": "string", "enum": [STEP_RESULTS]},
        "description": "Shows the passages that file searches found.",
    },
}
_DESCRIPTION = "A Run, or with `stream: true` the Assistants event stream."
_STARTS: dict[str, Any] = {
    "response_model": Run,
    "responses": {200: {"description": _DESCRIPTION, "content": event_stream(RUN_STREAM)}},
    "openapi_extra": {"parameters": [*TAKES_KEY["parameters"], _INCLUDE]},
}
_FOLLOWED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The run's events with ids.", "content": event_stream(RUN_STREAM)}
}


@router.post("/runs", summary="Create a thread and run it", **_STARTS)
async def create_thread_and_run(request: Request, body: ThreadRunCreate | None = None) -> Response:
    run, runs = await _requested(request)
    body = body or ThreadRunCreate()
    stream = partial(runs.stream_with_thread, run.scope, body)
    return await _started(run, body, partial(runs.create_with_thread, run.scope, body), stream)


@router.post("/{thread_id}/runs", summary="Run a thread", **_STARTS)
async def create_run(thread_id: str, request: Request, body: RunCreate | None = None) -> Response:
    run, runs = await _requested(request)
    body = body or RunCreate()
    stream = partial(runs.create_stream, run.scope, thread_id, body)
    return await _started(run, body, partial(runs.create, run.scope, thread_id, body), stream)


@router.get("/{thread_id}/runs", summary="List the latest runs", response_model=RunPage)
async def list_runs(thread_id: str, client: ClientDep, scope: ScopeDep, cursor: CursorDep) -> Response:
    return answer(scope, await client.runs.list_page(scope, thread_id, cursor))


@router.get("/{thread_id}/runs/{run_id}", summary="Read a run", response_model=Run)
async def get_run(thread_id: str, run_id: str, request: Request) -> Response:
    scope = await current_scope(request)
    view = await request.state.client.runs.view(scope, thread_id, run_id)
    headers = {"openai-poll-after-ms": str(request.state.settings.poll_after_ms)} if view.is_live else {}
    return answer(scope, view.run(), headers=headers)


@router.post(
    "/{thread_id}/runs/{run_id}",
    summary="Refused: a run's metadata is set when it is created",
    response_model=Run,
)
async def update_run(
    thread_id: str, run_id: str, _body: MetadataUpdate, client: ClientDep, scope: ScopeDep
) -> Response:
    # An unknown run answers 404, as it does everywhere.
    await client.runs.view(scope, thread_id, run_id)
    raise BadRequestError(
        "The upstream does not change a run's metadata. Set it when the run is created.",
        param="metadata",
        code="run_metadata_not_stored",
    )


@router.post("/{thread_id}/runs/{run_id}/cancel", summary="Cancel a run", response_model=Run)
async def cancel_run(thread_id: str, run_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.runs.cancel(scope, thread_id, run_id))


@router.post(
    "/{thread_id}/runs/{run_id}/submit_tool_outputs",
    summary="Answer the tool calls that a run waits for",
    **_STARTS,
)
async def submit_tool_outputs(
    thread_id: str, run_id: str, body: ToolOutputsSubmit, request: Request
) -> Response:
    run, runs = await _requested(request)
    stream = partial(runs.submit_stream, run.scope, thread_id, run_id, body)
    return await _started(run, body, partial(runs.submit, run.scope, thread_id, run_id, body), stream)


@router.get(
    "/{thread_id}/runs/{run_id}/steps",
    summary="List a run's steps",
    response_model=RunStepPage,
    openapi_extra={"parameters": [_INCLUDE]},
)
async def list_run_steps(
    thread_id: str, run_id: str, request: Request, client: ClientDep, scope: ScopeDep, cursor: CursorDep
) -> Response:
    _heed_include(request, client.runs, scope)
    return answer(scope, await client.runs.list_steps(scope, thread_id, run_id, cursor))


@router.get(
    "/{thread_id}/runs/{run_id}/steps/{step_id}",
    summary="Read a step",
    response_model=RunStep,
    openapi_extra={"parameters": [_INCLUDE]},
)
async def get_run_step(
    thread_id: str, run_id: str, step_id: str, request: Request, client: ClientDep, scope: ScopeDep
) -> Response:
    _heed_include(request, client.runs, scope)
    return answer(scope, await client.runs.get_step(scope, thread_id, run_id, step_id))


@router.get(
    "/{thread_id}/runs/{run_id}/events",
    summary="Follow a run, from its start or after an event",
    response_class=Response,
    responses=_FOLLOWED,
)
async def follow_run(
    thread_id: str,
    run_id: str,
    request: Request,
    client: ClientDep,
    scope: ScopeDep,
    registry: RegistryDep,
    settings: SettingsDep,
    starting_after: Annotated[int | None, Query(ge=0, description="Only events after this id.")] = None,
    last_event_id: Annotated[
        str | None, Header(description="What EventSource sends when it reconnects.")
    ] = None,
) -> Response:
    after = starting_after if starting_after is not None else _event_number(last_event_id)
    events = partial(client.resume.open, scope, thread_id, run_id, after, _stage(settings))
    return await followed_stream(request, scope, registry, events, AssistantsEncoder(with_ids=True))


async def _requested(request: Request) -> tuple[RunRequest, Runs]:
    """Return what starts a run for a request, whose `include[]` is heeded, and the service."""
    run = await run_request(request)
    _heed_include(request, run.client.runs, run.scope)
    return run, run.client.runs


def _heed_include(request: Request, runs: Runs, scope: RequestScope) -> None:
    query = request.query_params
    runs.include(scope, [*query.getlist("include[]"), *query.getlist("include")])


async def _started(
    run: RunRequest,
    body: RunCreate | ThreadRunCreate | ToolOutputsSubmit,
    start: Callable[[], Awaitable[Json]],
    stream: Callable[..., Awaitable[FollowedRun]],
) -> Response:
    """Start a run, and answer with its JSON or, if the body asks for it, with its event stream."""
    if not body.stream:
        return await run.once.answer(partial(placed, run, start))
    on_disconnect = run.on_disconnect(body.on_disconnect, run.settings.on_disconnect_runs)
    opening = partial(stream, on_disconnect=on_disconnect)
    encoder = CitingEncoder(AssistantsEncoder(), _stage(run.settings))
    return await run_once(run, opening, encoder, on_disconnect=on_disconnect)


def _stage(settings: Settings) -> AssistantsStage:
    return AssistantsStage(settings.citations, file_url(settings))


def _event_number(last_event_id: str | None) -> int | None:
    if not last_event_id:
        return None
    if not _EVENT_ID.match(last_event_id):
        raise BadRequestError(
            "'Last-Event-ID' is no id of this stream. Send a number.", param="Last-Event-ID"
        )
    return int(last_event_id)
