"""Builds what a run sends upstream from the assistant and the overrides that the caller may set."""

import hashlib
from typing import Any

from app.core.assistant import OVERRIDES, Assistant
from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import OverrideForbiddenError, not_found
from app.core.safety.moderation import Moderation
from app.core.tools.toolbox import Toolbox
from app.models.runs import RunCreate, RunOverrides, ThreadRunCreate
from app.translate.client_calls import answerable_kinds
from app.translate.context import RunContext
from app.translate.events import Json
from app.translate.own_calls import OwnTools
from app.translate.pictures import CODE_OUTPUTS
from app.translate.run_metadata import RunRounds, public_metadata

FILE_TOOLS = frozenset({"file_search", "code_interpreter"})
"""Tools that read files of the thread."""

SEARCH_RESULTS = "file_search_call.results"
"""The value of the upstream's `include` for what searches found."""

_COSTLY = ("model", "instructions", "additional_instructions", "tools", "reasoning_effort")
"""Overrides that affect the operator's costs or the assistant's behaviour."""


class RunParams:
    """Builds response parameters; raises `ServiceError` with the name of the offending field."""

    def __init__(
        self,
        assistant: Assistant,
        settings: Settings,
        toolbox: Toolbox,
        moderation: Moderation | None = None,
    ) -> None:
        self._assistant = assistant
        self._moderation = moderation
        approvals = {tool.name: tool.needs_approval for tool in toolbox.tools}
        self._own_tools = OwnTools(approvals)
        shown = {tool.name: tool.visible or settings.tools_visible for tool in toolbox.tools}
        self._shown_tools = OwnTools(approvals, shown)
        # Computed once: it is the same for every chat turn without files.
        self._plain = with_include(assistant.response_params({}, {}))
        self._chat_metadata = RunRounds.start(answerable_kinds(self._plain.get("tools") or []))
        self.waits_for_more_than_functions = bool(self._chat_metadata)
        """Whether the assistant has tools whose calls clients see as functions that they are not."""
        self._policy = settings.allow_run_overrides
        self._context = settings.context_params
        self._lifetime_seconds = int(settings.run_expires_seconds)
        self._exposes_instructions = settings.expose_instructions
        self.uses_files = uses_files(self._plain)
        """Whether the assistant, without overrides, has tools that read files of a thread."""

    def context(
        self, scope: RequestScope, thread_id: str, first_id: str | None = None, *, is_brief: bool = False
    ) -> RunContext:
        """Return the context in which this caller sees runs of this thread."""
        return RunContext(
            ids=scope.ids,
            thread_id=thread_id,
            assistant_id=self._assistant.id,
            lifetime_seconds=self._lifetime_seconds,
            reveals_instructions=self._exposes_instructions or scope.caller.is_trusted,
            first_response_id=first_id,
            own_tools=self._own_tools if scope.caller.is_trusted else self._shown_tools,
            is_brief=is_brief,
        )

    def check_assistant(self, assistant_id: str | None) -> None:
        """Raise 404 for any id but that of the one assistant, which is the default."""
        if assistant_id not in {None, self._assistant.id}:
            raise not_found("assistant", param="assistant_id")

    def for_run(self, body: RunCreate | ThreadRunCreate, scope: RequestScope, resources: Json) -> Json:
        """Return the parameters of a new run, without its input and conversation."""
        overrides = self._overrides(body, scope)
        own = self._assistant.response_params(overrides, resources)
        params = with_include(own, shows_results=scope.shows_results)
        marks = {*overrides, *answerable_kinds(params.get("tools") or [])}
        return params | self._common(scope, (body.metadata or {}) | RunRounds.start(marks))

    def for_chat(self, scope: RequestScope, resources: Json) -> Json:
        """Return the parameters of a chat turn, which overrides nothing."""
        own = with_include(self._assistant.response_params({}, resources)) if resources else self._plain
        return own | self._common(scope, self._chat_metadata)

    def for_next_round(self, response: Json, scope: RequestScope, resources: Json, overridden: Json) -> Json:
        """Return the parameters of the round after tool outputs; `overridden` are those of `RunOverrides`."""
        own = self._assistant.response_params({}, resources) | overridden
        params = with_include(own, shows_results=scope.shows_results)
        return params | self._common(
            scope, public_metadata(response.get("metadata")) | RunRounds.follow(response)
        )

    def _common(self, scope: RequestScope, metadata: dict[str, Any]) -> Json:
        common: Json = dict(self._context)
        if metadata:
            common["metadata"] = metadata
        if scope.safety_identifier:
            common["safety_identifier"] = scope.safety_identifier
            # Turns of one user begin alike, so the upstream should keep them in one cache.
            cached = f"{self._assistant.id}\0{scope.safety_identifier}"
            common["prompt_cache_key"] = hashlib.sha256(cached.encode()).hexdigest()[:32]
        if self._moderation is not None:
            common |= self._moderation.params()
        return common

    def _overrides(self, body: RunOverrides, scope: RequestScope) -> Json:
        sent = body.model_dump(exclude_none=True, include={*OVERRIDES, "additional_instructions"})
        own = {"model": self._assistant.model, "instructions": self._assistant.instructions}
        # Clients of the Assistants API often repeat the assistant's own settings: that overrides nothing.
        changed = {name: value for name, value in sent.items() if own.get(name) != value}
        if self._policy == "none" or (self._policy == "trusted" and not scope.caller.is_trusted):
            self._refuse(changed)
        added = changed.pop("additional_instructions", None)
        if added:
            base = changed.get("instructions", self._assistant.instructions)
            changed["instructions"] = f"{base}\n\n{added}" if base else added
        return changed

    def _refuse(self, changed: Json) -> None:
        refused = next((name for name in _COSTLY if name in changed), None)
        if refused:
            raise OverrideForbiddenError(
                f"This service does not let this caller override '{refused}'. Leave it out.", param=refused
            )


def uses_files(params: Json) -> bool:
    """Return whether a response with these parameters has tools that read files of its thread."""
    return any(tool.get("type") in FILE_TOOLS for tool in params.get("tools") or [])


def with_include(params: Json, *, shows_results: bool = False) -> Json:
    """Return the parameters with `include`, for what upstreams leave out of tool calls unless asked."""
    kinds = {tool.get("type") for tool in params.get("tools") or []}
    asked = {"code_interpreter": CODE_OUTPUTS} | ({"file_search": SEARCH_RESULTS} if shows_results else {})
    names = [name for kind, name in asked.items() if kind in kinds]
    return params | {"include": names} if names else params


def turn_body(params: Json, conversation_id: str, items: list[Json]) -> Json:
    """Return the body of a response; without `items`, it answers what the conversation holds."""
    # Some upstreams require the key.
    return params | {"conversation": conversation_id, "input": items}
