"""`/v1/models` and the counters for tests."""

from starlette.requests import Request
from starlette.responses import Response

from app.embedded.errors import ApiError
from app.embedded.routes.common import route
from app.embedded.services import Services, services_of
from app.embedded.wire import Json, json_response

# Models need a birthday on the wire; the responders have none, so a fixed one.
_CREATED = 1790000000


def _model(services: Services) -> Json:
    return {
        "id": services.responder.model,
        "object": "model",
        "created": _CREATED,
        "owned_by": "soloist",
        "shutdown_date": services.settings.shutdown_date,
    }


async def list_models(request: Request) -> Response:
    """`GET /v1/models`: the one that answers."""
    return json_response({"object": "list", "data": [_model(services_of(request))]})


async def get_model(request: Request) -> Response:
    """`GET /v1/models/{id}`; 404 for every model but the one that answers."""
    services, model_id = services_of(request), request.path_params["id"]
    if model_id != services.responder.model:
        message = (
            f"The model '{model_id}' does not exist; this upstream answers as '{services.responder.model}'."
        )
        raise ApiError(message, status=404, param="model", code="model_not_found")
    return json_response(_model(services))


async def get_stats(request: Request) -> Response:
    """`GET /_stats`."""
    services = services_of(request)
    return json_response(
        {
            "responses_created": services.engine.created,
            "active_generations": services.engine.active,
            "streams_open": services.open_streams.count,
            "conversations": await services.conversations.count(),
            "requests": dict(services.requests),
        }
    )


routes = [
    route("GET", "/v1/models", list_models),
    route("GET", "/v1/models/{id:path}", get_model),
    route("GET", "/_stats", get_stats),
]
