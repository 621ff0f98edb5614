"""`/v1/responses`: create, read, resume, cancel, delete."""

from collections.abc import AsyncIterator, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.embedded.errors import ApiError
from app.embedded.generation import Generation
from app.embedded.kinds import supported_request
from app.embedded.routes.common import flag, included, page_of, read_body, route, whole_number
from app.embedded.services import Services, services_of
from app.embedded.settings import FaultName
from app.embedded.streaming import Batches, FrameStream, once
from app.embedded.wire import Json, ResponseCreate, json_response, list_page

_SSE = "text/event-stream; charset=utf-8"
_JSON = "application/json"


async def create_response(request: Request) -> Response:
    """`POST /v1/responses`."""
    services = services_of(request)
    fault = services.faults.draw()
    body = supported_request(await read_body(request, ResponseCreate), services.settings)
    generation = await services.engine.create(body)
    if body.stream:
        return _event_stream(services, generation.batches(), fault, None if body.background else generation)
    if body.background:
        return _whole(services, generation.body, fault)
    return _json_stream(services, _finished(generation), fault, generation)


async def _finished(generation: Generation) -> AsyncIterator[Sequence[bytes]]:
    await generation.done.wait()
    yield _halves(generation.body)


def _halves(body: Json) -> list[bytes]:
    # Two frames, so that a fault can strike in the middle of a JSON body.
    data = orjson.dumps(body)
    return [data[: len(data) // 2], data[len(data) // 2 :]]


def _whole(services: Services, body: Json, fault: FaultName | None) -> Response:
    if fault is None:
        return json_response(body)
    return _json_stream(services, once(_halves(body)), fault, None)


def _json_stream(
    services: Services, batches: Batches, fault: FaultName | None, foreground: Generation | None
) -> Response:
    return FrameStream(
        services.faults.spoil(batches, fault, after=1),
        content_type=_JSON,
        open_streams=services.open_streams,
        on_leave=foreground.cancel if foreground else None,
    )


def _event_stream(
    services: Services, batches: Batches, fault: FaultName | None, foreground: Generation | None
) -> Response:
    return FrameStream(
        services.faults.spoil(batches, fault),
        content_type=_SSE,
        open_streams=services.open_streams,
        chunk_bytes=services.settings.chunk_bytes,
        on_leave=foreground.cancel if foreground else None,
    )


async def get_response(request: Request) -> Response:
    """`GET /v1/responses/{id}`, also as a stream from `starting_after` on."""
    services, response_id = services_of(request), request.path_params["id"]
    if flag(request, "stream"):
        return await _resume(services, response_id, whole_number(request, "starting_after", -1))
    return json_response(await services.engine.read(response_id, included(request)))


async def _resume(services: Services, response_id: str, starting_after: int) -> Response:
    fault = services.faults.draw()
    generation = services.engine.live(response_id)
    start = max(0, starting_after + 1)
    if generation is not None:
        _require_streamed(streamed=generation.streamed)
        return _event_stream(services, generation.batches(start), fault, None)
    stored = await services.engine.stored(response_id)
    _require_streamed(streamed=stored.streamed)
    return _event_stream(services, once(stored.frames[start:]), fault, None)


def _require_streamed(*, streamed: bool) -> None:
    if not streamed:
        raise ApiError(
            "This response cannot be streamed: it was not created with background=true and stream=true.",
            param="stream",
        )


async def cancel_response(request: Request) -> Response:
    """`POST /v1/responses/{id}/cancel`."""
    return json_response(await services_of(request).engine.cancel(request.path_params["id"]))


async def delete_response(request: Request) -> Response:
    """`DELETE /v1/responses/{id}`."""
    response_id = request.path_params["id"]
    await services_of(request).engine.delete(response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True})


async def list_input_items(request: Request) -> Response:
    """`GET /v1/responses/{id}/input_items`."""
    page = page_of(request)
    items = await services_of(request).responses.input_items(request.path_params["id"])
    if page.order == "desc":
        items.reverse()
    if page.after is not None:
        ids = [item["id"] for item in items]
        if page.after not in ids:
            raise ApiError(f"No input item with id '{page.after}'.", param="after")
        items = items[ids.index(page.after) + 1 :]
    return json_response(list_page(items[: page.limit], has_more=len(items) > page.limit))


creation = route("POST", "/v1/responses", create_response)
routes = [
    creation,
    route("GET", "/v1/responses/{id}", get_response),
    route("POST", "/v1/responses/{id}/cancel", cancel_response),
    route("DELETE", "/v1/responses/{id}", delete_response),
    route("GET", "/v1/responses/{id}/input_items", list_input_items),
]
