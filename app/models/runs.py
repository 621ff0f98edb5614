"""Runs and their steps."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from app.models.common import Metadata, PageModel, RequestModel, Usage, example
from app.models.messages import MessageCreate
from app.models.threads import ThreadCreate
from app.translate.tools import current_tool

RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
OnDisconnect = Annotated[
    Literal["cancel", "finish", "detach"] | None,
    Field(
        description="What happens to the run when the client goes away: it is stopped, read to its end, or "
        "goes on in the background."
    ),
]


class FunctionDefinition(RequestModel):
    """A function that the model may ask for."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    """A function as a tool."""

    type: Literal["function"]
    function: FunctionDefinition


class HostedTool(RequestModel):
    """A tool that the upstream runs itself."""

    type: Literal["code_interpreter", "file_search", "web_search", "image_generation", "mcp"]


class CustomTool(RequestModel):
    """A tool that the client runs, whose input is any text; its calls are shown as calls of a function."""

    type: Literal["custom"]
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: str | None = None
    format: dict[str, Any] | None = None


class NamedFunction(BaseModel):
    """A function's name."""

    name: str = Field(min_length=1)


class ToolChoice(BaseModel):
    """One tool that must be used."""

    type: Literal["function", "file_search", "code_interpreter", "custom"]
    function: NamedFunction | None = None
    name: str | None = Field(None, min_length=1, description="The name of a custom tool.")


class ResponseFormat(RequestModel):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


def _current(tool: object) -> object:
    return current_tool(tool) if isinstance(tool, dict) else tool


def _current_tools(tools: object) -> object:
    return [_current(tool) for tool in tools] if isinstance(tools, list) else tools


class RunOverrides(RequestModel):
    """What a run may change of the assistant."""

    model: str | None = Field(None, min_length=1)
    instructions: str | None = None
    additional_instructions: str | None = None
    tools: Annotated[
        list[Annotated[FunctionTool | CustomTool | HostedTool, Field(discriminator="type")]] | None,
        BeforeValidator(_current_tools),
    ] = Field(None, max_length=128)
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | ToolChoice | None, BeforeValidator(_current)
    ] = None
    parallel_tool_calls: bool | None = None
    response_format: Literal["auto"] | ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_completion_tokens: int | None = Field(None, ge=16)


class RunCreate(RunOverrides):
    """A run on a thread."""

    model_config = example(assistant_id="asst_soloist")
    assistant_id: str | None = Field(None, description="The one assistant's id, which is also the default.")
    additional_messages: list[MessageCreate] | None = Field(None, max_length=20)
    metadata: Metadata | None = None
    stream: bool | None = None
    on_disconnect: OnDisconnect = None


class ThreadRunCreate(RunOverrides):
    """A new thread and a run on it."""

    model_config = example(
        assistant_id="asst_soloist", thread={"messages": [{"role": "user", "content": "Hello"}]}
    )
    assistant_id: str | None = Field(None, description="The one assistant's id, which is also the default.")
    thread: ThreadCreate | None = None
    tool_resources: dict[str, Any] | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    on_disconnect: OnDisconnect = None


class ToolOutput(RequestModel):
    """What a tool call gave."""

    tool_call_id: str = Field(min_length=1)
    output: str = ""


class ToolOutputsSubmit(RequestModel):
    """The outputs of every waiting tool call."""

    tool_outputs: list[ToolOutput] = Field(min_length=1, max_length=128)
    stream: bool | None = None
    on_disconnect: OnDisconnect = None


class Run(BaseModel):
    """A run as the Assistants API showed it."""

    id: str
    object: Literal["thread.run"]
    created_at: int
    thread_id: str
    assistant_id: str
    status: RunStatus
    required_action: dict[str, Any] | None
    last_error: dict[str, Any] | None
    expires_at: int | None
    started_at: int | None
    cancelled_at: int | None
    failed_at: int | None
    completed_at: int | None
    incomplete_details: dict[str, Any] | None
    model: str
    instructions: str
    tools: list[dict[str, Any]]
    parallel_tool_calls: bool
    metadata: dict[str, str]
    usage: Usage | None
    temperature: float | None
    top_p: float | None
    max_completion_tokens: int | None
    max_prompt_tokens: int | None
    truncation_strategy: dict[str, Any]
    response_format: str | dict[str, Any]
    tool_choice: str | dict[str, Any]
    reasoning_effort: str | None


class RunPage(PageModel[Run]):
    """A page of runs."""


class RunStep(BaseModel):
    """A step of a run."""

    id: str
    object: Literal["thread.run.step"]
    created_at: int
    run_id: str
    thread_id: str
    assistant_id: str
    type: Literal["message_creation", "tool_calls"]
    status: Literal["in_progress", "cancelled", "failed", "completed", "expired"]
    step_details: dict[str, Any]
    usage: Usage | None
    last_error: dict[str, Any] | None
    expired_at: int | None
    cancelled_at: int | None
    failed_at: int | None
    completed_at: int | None
    metadata: dict[str, str]


class RunStepPage(PageModel[RunStep]):
    """A page of run steps."""
