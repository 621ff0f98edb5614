"""The one assistant."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.models.common import PageModel, RequestModel


class AssistantUpdate(RequestModel):
    """The assistant as a client wants it: it can be sent, but not changed. Null leaves a field as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Soloist"}]})
    name: Any = None
    description: Any = None
    model: Any = None
    instructions: Any = None
    tools: Any = None
    tool_resources: Any = None
    file_ids: Any = Field(None, description="The files of an assistant in version 1 of the Assistants API.")
    metadata: Any = None
    temperature: Any = None
    top_p: Any = None
    response_format: Any = None
    reasoning_effort: Any = None
    id: Any = None
    object: Any = None
    created_at: Any = None


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
