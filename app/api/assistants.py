"""The one assistant."""

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.dependencies import AssistantDep, ClientDep, CursorDep, HealthDep, ScopeDep, SettingsDep
from app.api.json_route import ApiRoute
from app.api.responses import answer, errors
from app.core.assistant import Assistant
from app.core.assistant_update import changed_field
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, not_found
from app.core.observability.health import Health
from app.models.assistants import AssistantPage, AssistantRead, AssistantUpdate
from app.translate.events import Json
from app.translate.objects import page

router = APIRouter(prefix="/assistants", tags=["assistants"], route_class=ApiRoute)
_REFUSED = "Refused: the assistant is configured by its operator"


@router.get("", summary="List the assistant", response_model=AssistantPage)
async def list_assistants(
    assistant: AssistantDep, settings: SettingsDep, health: HealthDep, scope: ScopeDep, cursor: CursorDep
) -> Response:
    # The list has one object, so there is nothing after or before it.
    is_here = cursor.after is None and cursor.before is None
    return answer(scope, page([_seen(assistant, settings, health, scope)] if is_here else [], has_more=False))


@router.get(
    "/{assistant_id}", summary="Read the assistant", response_model=AssistantRead, responses=errors(404)
)
async def get_assistant(
    assistant_id: str, assistant: AssistantDep, settings: SettingsDep, health: HealthDep, scope: ScopeDep
) -> Response:
    if assistant_id != assistant.id:
        raise not_found("assistant", param="assistant_id")
    return answer(scope, _seen(assistant, settings, health, scope))


@router.post(
    "/{assistant_id}",
    summary="Read the assistant; refused: changes, as its operator configures it",
    response_model=AssistantRead,
    responses=errors(404),
)
async def update_assistant(
    assistant_id: str,
    client: ClientDep,
    assistant: AssistantDep,
    settings: SettingsDep,
    health: HealthDep,
    scope: ScopeDep,
    body: AssistantUpdate | None = None,
) -> Response:
    if assistant_id != assistant.id:
        raise not_found("assistant", param="assistant_id")
    shown = _seen(assistant, settings, health, scope)
    sent = body or AssistantUpdate()
    client.unsupported.check(sent, scope)
    values = sent.model_dump(include=set(AssistantUpdate.model_fields))
    if (changed := changed_field(values, shown, assistant.model)) is not None:
        raise _fixed(changed)
    return answer(scope, shown)


@router.post("", summary=_REFUSED)
async def create_assistant(_scope: ScopeDep) -> Response:
    raise _fixed()


@router.delete("/{assistant_id}", summary=_REFUSED)
async def delete_assistant(assistant_id: str, _scope: ScopeDep) -> Response:
    raise _fixed()


def _fixed(param: str | None = None) -> BadRequestError:
    what = f"Its '{param}' is another, and it" if param else "It"
    return BadRequestError(
        f"This service has one assistant, set by its operator (ASSISTANT_FILE). {what} cannot be changed "
        "over the API.",
        param=param,
        code="assistant_is_fixed",
    )


def _seen(assistant: Assistant, settings: Settings, health: Health, scope: RequestScope) -> Json:
    reveals = settings.expose_instructions or scope.caller.is_trusted
    return assistant.object(reveals_instructions=reveals, model=health.model)
