"""What a file of tools imports: `from app.tools import tool, guard, Caller, Refusal, ToolError`.

This module imports nothing else of the service, so that such a file can be tested alone.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar, overload

Approval = Literal["always", "never"]
Visible = Literal["names", "full", "none"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Caller:
    """Whom a tool is called for. The service fills a parameter of this type; the model never sees it."""

    user_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What the caller's session or token says of the user; empty where there is none."""


class ToolError(Exception):
    """Raise it in a tool to tell the model what went wrong; the text of other exceptions stays hidden."""


@dataclass(frozen=True)
class Options:
    """What `@tool` was given; None leaves it to the settings or to the function."""

    name: str | None = None
    timeout_seconds: float | None = None
    approval: Approval = "never"
    idempotent: bool = False
    visible: Visible | None = None


marked: list[tuple[Callable[..., Any], Options]] = []
"""All functions that `@tool` marked in this process, in their order."""


@overload
def tool(function: Function, /) -> Function: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout_seconds: float | None = None,
    approval: Approval = "never",
    idempotent: bool = False,
    visible: Visible | None = None,
) -> Callable[[Function], Function]: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Mark a plain or an async function as a tool of the assistant; the function itself is not changed.

    Its name, docstring and typed parameters are what the model sees. `timeout_seconds` comes before
    TOOL_TIMEOUT_SECONDS and `visible` before TOOLS_VISIBLE. `approval="always"` asks the user before each
    call. `idempotent=True` says that running a call twice does no harm. Raises `TypeError` or `ValueError`
    for a use that cannot be meant.
    """
    chosen = _checked(Options(**options))

    def mark(found: Any) -> Any:
        if not callable(found) or inspect.isclass(found):
            raise TypeError(f"@tool marks functions, not {type(found).__name__}")
        marked.append((found, chosen))
        return found

    return mark if function is None else mark(function)


def _checked(options: Options) -> Options:
    if options.approval not in {"always", "never"}:
        raise ValueError("approval is 'always' or 'never'")
    if options.visible not in {None, "names", "full", "none"}:
        raise ValueError("visible is 'names', 'full' or 'none'")
    if options.timeout_seconds is not None and not 0 < options.timeout_seconds <= 86_400:
        raise ValueError("timeout_seconds is above 0 and at most 86400")
    return options


@dataclass(frozen=True)
class Refusal:
    """What a guard returns for a message that must not reach the model; the user reads the sentence."""

    sentence: str


@dataclass(frozen=True)
class GuardOptions:
    """What `@guard` was given."""

    timeout_seconds: float = 5.0


marked_guards: list[tuple[Callable[..., Any], GuardOptions]] = []
"""All functions that `@guard` marked in this process, in their order."""


@overload
def guard(function: Function, /) -> Function: ...
@overload
def guard(*, timeout_seconds: float = 5.0) -> Callable[[Function], Function]: ...
def guard(function: Any = None, /, *, timeout_seconds: float = 5.0) -> Any:
    """Mark a plain or an async function that sees each message's text before the model does.

    It is called with the text and a `Caller`, and returns None, the text to go on with, or a `Refusal`. If it
    raises, or takes longer than `timeout_seconds`, the turn is refused. Raises `TypeError` or `ValueError`
    for a use that cannot be meant.
    """
    if not 0 < timeout_seconds <= 86_400:
        raise ValueError("timeout_seconds is above 0 and at most 86400")

    def mark(found: Any) -> Any:
        if not callable(found) or inspect.isclass(found):
            raise TypeError(f"@guard marks functions, not {type(found).__name__}")
        marked_guards.append((found, GuardOptions(timeout_seconds)))
        return found

    return mark if function is None else mark(function)
