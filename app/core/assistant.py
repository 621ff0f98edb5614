"""The assistant, from settings or from an exported Assistants API object; sent with every response."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.config import Settings
from app.translate.client_calls import APPROVAL_NAME, is_run_by_client
from app.translate.events import Json
from app.translate.tools import current_tool, to_responses_choice, to_responses_tools, to_text_format
from app.utils.text_files import read_text

DEFAULT_ID = "asst_soloist"
DEFAULT_MODEL = "gpt-6-luna"
DEFAULT_INSTRUCTIONS = (
    "You are a helpful assistant. Answer in the language of the question, briefly and to the point."
)
# 2026-01-01: clients expect a date, and a configuration has none.
_CREATED_AT = 1_767_225_600
# Names that a function must not have: ASSISTANT_TOOLS or a client would take it for something else.
_TAKEN = frozenset(
    {
        APPROVAL_NAME,
        "function",
        "custom",
        "mcp",
        "file_search",
        "retrieval",
        "code_interpreter",
        "web_search",
        "web_search_preview",
        "image_generation",
        "shell",
        "local_shell",
        "apply_patch",
        "computer",
        "computer_use_preview",
        "tool_search",
    }
)
# Run fields that override the assistant, and the response parameters that they become.
OVERRIDES = {
    "model": "model",
    "instructions": "instructions",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_completion_tokens": "max_output_tokens",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "text",
    "reasoning_effort": "reasoning",
}


class AssistantFile(BaseModel):
    """An Assistants API assistant object as people exported it; `ignored_keys` names other keys."""

    model_config = ConfigDict(extra="allow")

    object: str | None = None
    id: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    name: str | None = None
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] = Field(default_factory=list)
    tool_resources: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    response_format: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    metadata: dict[str, str] | None = None
    created_at: int | None = None


@dataclass(frozen=True, slots=True)
class Assistant:
    """The assistant in Assistants form; `response_params` translates it."""

    id: str
    name: str
    model: str
    instructions: str
    description: str | None = None
    created_at: int = _CREATED_AT
    tools: list[Json] = field(default_factory=list)
    tool_resources: Json = field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    response_format: str | Json = "auto"
    reasoning_effort: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    max_output_tokens: int | None = None
    reasoning_summary: str | None = None

    @property
    def tool_of_files(self) -> str | None:
        """The tool that gets files without tools, as version 1 of the Assistants API had them."""
        kinds = {tool.get("type") for tool in self.tools}
        return next((kind for kind in ("file_search", "code_interpreter") if kind in kinds), None)

    def object(self, *, reveals_instructions: bool, model: str | None = None) -> Json:
        """Return the public Assistant, with every key; `model` is the name that really answers."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("max_output_tokens", "reasoning_summary"):
            del found[name]  # a setting of this service
        found |= {"object": "assistant", "model": model or self.model}
        return found if reveals_instructions else found | {"instructions": None}

    def response_params(self, overrides: Mapping[str, Any], tool_resources: Json | None = None) -> Json:
        """Return a response's parameters: the assistant's, with a run's `overrides` in Assistants form.

        `tool_resources` are the thread's, and are added to the assistant's. Unset values are left out,
        because newer models refuse parameters that they do not know.
        """
        resources = merged_resources(self.tool_resources, tool_resources or {})
        chosen = {
            "model": self.model,
            "instructions": self.instructions,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "reasoning_effort": self.reasoning_effort,
            "response_format": None if self.response_format == "auto" else self.response_format,
            "max_completion_tokens": self.max_output_tokens,
            "tools": self.tools or None,
            **overrides,
        }
        if self.max_output_tokens and chosen.get("max_completion_tokens"):
            chosen["max_completion_tokens"] = min(chosen["max_completion_tokens"], self.max_output_tokens)
        params: Json = {}
        for name, value in chosen.items():
            if value is not None and name in OVERRIDES:
                params[OVERRIDES[name]] = _translated(name, value, resources)
        if self.reasoning_summary:
            params["reasoning"] = {**params.get("reasoning", {}), "summary": self.reasoning_summary}
        return params


def merged_resources(own: Json, thread: Json) -> Json:
    """Return tool resources with the thread's ids after the assistant's."""
    merged: Json = {}
    for tool, key in (("file_search", "vector_store_ids"), ("code_interpreter", "file_ids")):
        ids = [*((own.get(tool) or {}).get(key) or []), *((thread.get(tool) or {}).get(key) or [])]
        if ids:
            merged[tool] = {key: list(dict.fromkeys(ids))}
    return merged


def _translated(name: str, value: Any, resources: Json) -> Any:
    if name == "tools":
        return to_responses_tools(value, resources)
    if name == "tool_choice":
        return to_responses_choice(value)
    if name == "response_format":
        return {"format": to_text_format(value)}
    if name == "reasoning_effort":
        return {"effort": value}
    return value


def load_assistant(settings: Settings, own_tools: Sequence[Json] = ()) -> Assistant:
    """Build the assistant; settings win over the file. Raises `ValueError`, in one line, for a bad file.

    `own_tools` are the functions that the service runs. The assistant has all of them, unless ASSISTANT_TOOLS
    names some.
    """
    read = _read_file(settings.assistant_file) if settings.assistant_file else AssistantFile()
    return Assistant(
        id=settings.assistant_id or read.id or DEFAULT_ID,
        name=settings.assistant_name or read.name or "Soloist",
        description=settings.assistant_description or read.description,
        created_at=read.created_at or _CREATED_AT,
        model=settings.assistant_model or read.model or DEFAULT_MODEL,
        instructions=_first(settings.assistant_instructions, read.instructions, DEFAULT_INSTRUCTIONS),
        tools=_with_own_tools(_tools(settings, read), own_tools),
        tool_resources=_resources(settings, read),
        temperature=_first(settings.assistant_temperature, read.temperature),
        top_p=_first(settings.assistant_top_p, read.top_p),
        response_format=read.response_format or "auto",
        reasoning_effort=settings.assistant_reasoning_effort or read.reasoning_effort,
        reasoning_summary=settings.assistant_reasoning_summary,
        metadata=read.metadata or {},
        max_output_tokens=settings.max_output_tokens,
    )


def _tools(settings: Settings, read: AssistantFile) -> list[Json]:
    tools = [current_tool(tool) for tool in _first(settings.assistant_tools, read.tools, [])]
    if refused := next(filter(is_run_by_client, tools), None):
        raise ValueError(
            f"ASSISTANT_TOOLS: nobody can carry out the calls of the tool {refused['type']!r}; remove it."
        )
    is_missing = not any(tool.get("type") == "file_search" for tool in tools)
    return [*tools, {"type": "file_search"}] if settings.assistant_vector_stores and is_missing else tools


def _with_own_tools(tools: list[Json], own_tools: Sequence[Json]) -> list[Json]:
    own = {tool["function"]["name"]: tool for tool in own_tools}
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    for name in [str(function.get("name")) for function in functions] + sorted(_TAKEN):
        if name in own:
            raise ValueError(
                f"TOOLS_MODULE, TOOLS_FILE: the assistant has a tool {name!r} already; remove or rename one"
            )
    named = [tool["type"] for tool in tools if tool.get("type") in own]
    others = [tool for tool in tools if tool.get("type") not in own]
    return [*others, *(own[name] for name in dict.fromkeys(named or own))]


def _resources(settings: Settings, read: AssistantFile) -> Json:
    resources = merged_resources(read.tool_resources or {}, {})
    if settings.assistant_vector_stores:
        resources["file_search"] = {"vector_store_ids": settings.assistant_vector_stores}
    return resources


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def ignored_keys(settings: Settings) -> list[str]:
    """Return a sentence for each key of ASSISTANT_FILE that means nothing, with the key that may be meant."""
    file = settings.assistant_file
    sentences = []
    for key in (_read_file(file).model_extra if file else None) or {}:
        near = difflib.get_close_matches(key, AssistantFile.model_fields, 1, 0.7)
        meant = f"; did you mean {near[0]}?" if near else "."
        sentences.append(f"ASSISTANT_FILE={file}: the key {key[:80]!r} is ignored{meant}")
    return sentences


def _read_file(file: Path) -> AssistantFile:
    try:
        return AssistantFile.model_validate(json.loads(read_text(file, setting="ASSISTANT_FILE")))
    except json.JSONDecodeError as exc:
        raise ValueError(f"ASSISTANT_FILE={file} is no JSON: {exc.msg} in line {exc.lineno}") from exc
    except ValidationError as exc:
        places = {".".join(map(str, error["loc"])) or "the whole": error["msg"] for error in exc.errors()}
        lines = [f"ASSISTANT_FILE={file}: {place}: {message}" for place, message in places.items()]
        raise ValueError("\n".join(lines)) from exc
