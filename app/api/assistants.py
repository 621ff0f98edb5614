"""The one assistant."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from app.api.dependencies import AssistantDep, CursorDep, HealthDep, ScopeDep, SettingsDep
from app.api.responses import answer, errors
from app.core.assistant import Assistant
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError, not_found
from app.core.observability.health import Health
from app.models.common import PageModel
from app.translate.events import Json
from app.translate.objects import page

router = APIRouter(prefix="/assistants", tags=["assistants"])
_REFUSED = "Refused: the assistant is configured by its operator"


class AssistantRead(BaseModel):
    """The assistant as the Assistants API showed it."""

    id: str
    object: Literal["assistant"]
    created_at: int
    name: str | None
    description: str | None
    model: str
    instructions: str | None
    tools: list[dict[str, Any]]
    tool_resources: dict[str, Any] | None
    metadata: dict[str, str]
    temperature: float | None
    top_p: float | None
    response_format: str | dict[str, Any] | None
    reasoning_effort: str | None


class AssistantPage(PageModel[AssistantRead]):
    """A page with the one assistant."""


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


@router.post("", name="create_assistant", summary=_REFUSED)
@router.post("/{assistant_id}", name="update_assistant", summary=_REFUSED)
@router.delete("/{assistant_id}", name="delete_assistant", summary=_REFUSED)
async def change_assistant(_scope: ScopeDep) -> Response:
    raise BadRequestError(
        "This service has one assistant, set by its operator (ASSISTANT_FILE). "
        "It cannot be changed over the API.",
        code="assistant_is_fixed",
    )


def _seen(assistant: Assistant, settings: Settings, health: Health, scope: RequestScope) -> Json:
    reveals = settings.expose_instructions or scope.caller.is_trusted
    return assistant.object(reveals_instructions=reveals, model=health.model)
