"""Parameters of the Assistants API that this service does not support: named in a header, or refused."""

from collections.abc import Iterable

from app.core.caller import RequestScope
from app.core.config import Settings
from app.core.errors import BadRequestError
from app.models.common import RequestModel

# Unsupported fields with a value that describes what this service does anyway.
_EQUIVALENTS = {"truncation_strategy": {"type": "auto"}}
STEP_RESULTS = "step_details.tool_calls[*].file_search.results[*].content"
"""The one value of `include[]` in the Assistants API."""


class UnsupportedParams:
    """Names or refuses them, as `UNSUPPORTED_PARAMS` says."""

    def __init__(self, settings: Settings) -> None:
        self._is_strict = settings.unsupported_params == "strict"

    def check(self, body: RequestModel, scope: RequestScope, prefix: str = "") -> None:
        """Name a body's unsupported fields in `x-ignored-params`, or raise `BadRequestError` for the first.

        `prefix` is put before the names of fields of a nested body, such as `thread.`.
        """
        names = [name for name in body.unknown_fields() if not _is_equivalent(name, body)]
        if scope.caller.kind == "api_key" and not prefix and "user" in names:
            names.remove("user")  # `current_scope` has used it
        if not names:
            return
        self.ignore([prefix + name for name in names], scope)

    def check_include(self, values: Iterable[str], scope: RequestScope) -> None:
        """Note what a request's `include[]` asks for; values that Assistants had not are unsupported."""
        asked = set(values)
        scope.shows_results = STEP_RESULTS in asked
        if asked - {STEP_RESULTS}:
            self.ignore(["include[]"], scope)

    def ignore(self, named: list[str], scope: RequestScope) -> None:
        """Name parameters in `x-ignored-params`, or raise `BadRequestError` for the first."""
        if self._is_strict:
            raise BadRequestError(
                f"This service does not support '{named[0]}'. Leave it out.",
                param=named[0],
                code="unsupported_parameter",
            )
        scope.ignore(named)


def _is_equivalent(name: str, body: RequestModel) -> bool:
    value = (body.__pydantic_extra__ or {}).get(name)
    if value is None or value in ({}, []):
        return True
    meant = _EQUIVALENTS.get(name)
    return (
        meant is not None
        and isinstance(value, dict)
        and {k: v for k, v in value.items() if v is not None} == meant
    )
