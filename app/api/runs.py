"""Runs of a thread, as JSON and as the Assistants event stream."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from app.api.dependencies import ClientDep, CursorDep, RegistryDep, ScopeDep, SettingsDep
from app.api.description import RUN_STREAM, event_stream
from app.api.lean_route import LeanRoute
from app.api.responses import answer, errors
from app.api.run_responses import assistants_stream, followed_stream, placed
from app.api.turns import TurnDep
from app.core.errors import BadRequestError
from app.core.runs.lookup import RunView
from app.models.messages import MetadataUpdate
from app.models.runs import Run, RunCreate, RunPage, RunStep, RunStepPage, ThreadRunCreate, ToolOutputsSubmit

router = APIRouter(prefix="/threads", tags=["runs"], route_class=LeanRoute)
_EVENT_ID = re.compile(r"[0-9]{1,18}\Z")
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A Run, or with `stream: true` the Assistants event stream.",
        "content": event_stream(RUN_STREAM),
    }
}
_FOLLOWED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The run's events with ids.", "content": event_stream(RUN_STREAM)}
}


@router.post(
    "/runs",
    summary="Create a thread and run it",
    response_model=Run,
    responses=_STREAMED | errors(403, 404, 429, 502, 503, 504),
)
async def create_thread_and_run(body: ThreadRunCreate, turn: TurnDep) -> Response:
    runs, scope = turn.client.runs, turn.scope
    if not body.stream:
        return await turn.once.answer(lambda: placed(turn, lambda: runs.create_with_thread(scope, body)))
    on_disconnect = turn.once.on_disconnect(body.on_disconnect, turn.settings.on_disconnect_runs)
    opening = runs.stream_with_thread(scope, body, on_disconnect=on_disconnect)
    return await assistants_stream(turn, opening, on_disconnect=on_disconnect)


@router.post(
    "/{thread_id}/runs",
    summary="Run a thread",
    response_model=Run,
    responses=_STREAMED | errors(403, 404, 429, 502, 503, 504),
)
async def create_run(thread_id: str, body: RunCreate, turn: TurnDep) -> Response:
    runs, scope = turn.client.runs, turn.scope
    if not body.stream:
        return await turn.once.answer(lambda: placed(turn, lambda: runs.create(scope, thread_id, body)))
    on_disconnect = turn.once.on_disconnect(body.on_disconnect, turn.settings.on_disconnect_runs)
    opening = runs.create_stream(scope, thread_id, body, on_disconnect=on_disconnect)
    return await assistants_stream(turn, opening, on_disconnect=on_disconnect)


@router.get(
    "/{thread_id}/runs",
    summary="List the latest runs",
    response_model=RunPage,
    responses=errors(404, 429, 502, 504),
)
async def list_runs(thread_id: str, client: ClientDep, scope: ScopeDep, cursor: CursorDep) -> Response:
    return answer(scope, await client.runs.list_page(scope, thread_id, cursor))


@router.get(
    "/{thread_id}/runs/{run_id}",
    summary="Read a run",
    response_model=Run,
    responses=errors(404, 429, 502, 504),
)
async def get_run(
    thread_id: str, run_id: str, client: ClientDep, scope: ScopeDep, settings: SettingsDep
) -> Response:
    view: RunView = await client.runs.view(scope, thread_id, run_id)
    headers = {"openai-poll-after-ms": str(settings.poll_after_ms)} if view.is_live else {}
    return answer(scope, view.run(), headers=headers)


@router.post(
    "/{thread_id}/runs/{run_id}",
    summary="Refused: a run's metadata is set when it is created",
    response_model=Run,
    responses=errors(404, 429, 502, 504),
)
async def update_run(
    thread_id: str, run_id: str, _body: MetadataUpdate, client: ClientDep, scope: ScopeDep
) -> Response:
    await client.runs.view(scope, thread_id, run_id)
    raise BadRequestError(
        "The upstream does not change a run's metadata. Set it when the run is created.",
        param="metadata",
        code="run_metadata_not_stored",
    )


@router.post(
    "/{thread_id}/runs/{run_id}/cancel",
    summary="Cancel a run",
    response_model=Run,
    responses=errors(404, 429, 502, 504),
)
async def cancel_run(thread_id: str, run_id: str, client: ClientDep, scope: ScopeDep) -> Response:
    return answer(scope, await client.runs.cancel(scope, thread_id, run_id))


@router.post(
    "/{thread_id}/runs/{run_id}/submit_tool_outputs",
    summary="Answer the tool calls that a run waits for",
    response_model=Run,
    responses=_STREAMED | errors(404, 429, 502, 503, 504),
)
async def submit_tool_outputs(
    thread_id: str, run_id: str, body: ToolOutputsSubmit, turn: TurnDep
) -> Response:
    if not body.stream:
        return await turn.once.answer(
            lambda: placed(turn, lambda: turn.client.runs.submit(turn.scope, thread_id, run_id, body))
        )
    on_disconnect = turn.once.on_disconnect(body.on_disconnect, turn.settings.on_disconnect_runs)
    opening = turn.client.runs.submit_stream(turn.scope, thread_id, run_id, body, on_disconnect=on_disconnect)
    return await assistants_stream(turn, opening, on_disconnect=on_disconnect)


@router.get(
    "/{thread_id}/runs/{run_id}/steps",
    summary="List a run's steps",
    response_model=RunStepPage,
    responses=errors(404, 429, 502, 504),
)
async def list_run_steps(
    thread_id: str, run_id: str, client: ClientDep, scope: ScopeDep, cursor: CursorDep
) -> Response:
    return answer(scope, await client.runs.list_steps(scope, thread_id, run_id, cursor))


@router.get(
    "/{thread_id}/runs/{run_id}/steps/{step_id}",
    summary="Read a step",
    response_model=RunStep,
    responses=errors(404, 429, 502, 504),
)
async def get_run_step(
    thread_id: str, run_id: str, step_id: str, client: ClientDep, scope: ScopeDep
) -> Response:
    return answer(scope, await client.runs.get_step(scope, thread_id, run_id, step_id))


@router.get(
    "/{thread_id}/runs/{run_id}/events",
    summary="Follow a run, from its start or after an event",
    response_class=Response,
    responses=_FOLLOWED | errors(404, 429, 502, 503, 504),
)
async def follow_run(
    thread_id: str,
    run_id: str,
    request: Request,
    client: ClientDep,
    scope: ScopeDep,
    registry: RegistryDep,
    starting_after: Annotated[int | None, Query(ge=0, description="Only events after this id.")] = None,
    last_event_id: Annotated[
        str | None, Header(description="What EventSource sends when it reconnects.")
    ] = None,
) -> Response:
    after = starting_after if starting_after is not None else _event_number(last_event_id)
    opening = client.resume.open(scope, thread_id, run_id, after)
    return await followed_stream(request, scope, registry, opening)


def _event_number(last_event_id: str | None) -> int | None:
    if not last_event_id:
        return None
    if not _EVENT_ID.match(last_event_id):
        raise BadRequestError(
            "'Last-Event-ID' is no id of this stream. Send a number.", param="Last-Event-ID"
        )
    return int(last_event_id)
