"""What upstreams lack that keep no conversations, or nothing at all."""

from collections.abc import Sequence

from msgspec.structs import replace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.embedded.errors import ApiError
from app.embedded.settings import EmbeddedSettings, Kind
from app.embedded.wire import Json, ResponseCreate, json_response

_LACKS: dict[Kind, tuple[str, ...]] = {
    "conversations": (),
    "responses": ("conversation",),
    "nothing": ("conversation", "previous_response_id", "background", "context_management"),
}
# llama.cpp ignores the rest, but refuses this one: the answer would miss what came before.
_NEVER_IGNORED = "previous_response_id"
# Azure's words, and those of FastAPI, on which vLLM stands.
_UNKNOWN_ROUTES: dict[Kind, Json] = {
    "responses": {"error": {"code": "404", "message": "Resource not found"}},
    "nothing": {"detail": "Not Found"},
}
_SPARSE = ("id", "object", "created_at", "status", "model", "output", "usage", "error", "incomplete_details")


def supported_request(request: ResponseCreate, settings: EmbeddedSettings) -> ResponseCreate:
    """The request without what this kind of upstream ignores.

    Raises ApiError 400 for what it refuses.
    """
    lacking = [name for name in _LACKS[settings.kind] if getattr(request, name)]
    for name in lacking:
        if settings.unsupported == "refuse" or name == _NEVER_IGNORED:
            raise ApiError(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    without: Json = dict.fromkeys(lacking)
    if settings.kind == "nothing":
        without |= {"store": False, "truncation": None}
    return replace(request, **without)


def check_window(items: Sequence[Json], request: ResponseCreate, settings: EmbeddedSettings) -> None:
    """Refuse more items than the window takes, unless upstream may truncate them.

    Raises ApiError 400 `context_length_exceeded`.
    """
    window = settings.context_items
    if window is not None and len(items) > window and request.truncation != "auto":
        raise ApiError(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            param="input",
            code="context_length_exceeded",
        )


def tells_little(settings: EmbeddedSettings) -> bool:
    """Whether responses carry only what `sparse_body` leaves."""
    return settings.kind == "nothing" and settings.unsupported == "ignore"


def sparse_body(body: Json) -> Json:
    """The few fields of a response that llama.cpp tells."""
    return {name: body[name] for name in _SPARSE if body.get(name) is not None}


async def on_unknown_route(request: Request, exc: Exception) -> Response:
    """Starlette handler of a route that this kind of upstream does not have."""
    assert isinstance(exc, HTTPException)  # noqa: S101 - Starlette types every handler's argument as Exception
    kind: Kind = request.app.state.services.settings.kind
    return json_response(_UNKNOWN_ROUTES[kind], exc.status_code)
