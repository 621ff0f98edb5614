"""Fields of a request that not every upstream or model takes, and that the request can do without.

What is refused is found out from the first refusal, left out from then on until a restart, and logged once.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from app.core.upstream.errors import UpstreamRefusedError
from app.translate.events import Json

_log = structlog.get_logger(__name__)
_NAMES = {
    "prompt_cache_key": "prompt_cache_key",
    "context_management": "context_management",
    "temperature": "temperature",
    "top_p": "top_p",
    "reasoning": "reasoning.effort",
    "reasoning_effort": "reasoning.effort",
}
"""Fields by the beginning of the parameter that a refusal names."""

_MOST_REMEMBERED = 1_000


class OptionalFields:
    """The optional fields that are known to be refused, by model.

    Args:
        own: the assistant's `temperature`, `top_p` and `reasoning`. Another value is the client's wish,
            which is not dropped in silence: it is refused as before.

    """

    def __init__(self, own: Mapping[str, Any]) -> None:
        self._own = own
        self.refused: set[tuple[str, str]] = set()
        """Models and the fields that they refuse."""

    def without_refused(self, body: Json) -> Json:
        """Return a body without the fields that its model is known to refuse."""
        for name in dict.fromkeys(_NAMES.values()):
            if (str(body.get("model")), name) in self.refused and self._is_optional(body, name):
                body = _without(body, name)
        return body

    def named_by(self, refusal: UpstreamRefusedError, body: Json) -> str | None:
        """Return the optional field of the body that a refusal names, or None."""
        if not refusal.is_plain or refusal.param is None:
            return None
        name = field_of(refusal.param)
        return name if name and self._is_optional(body, name) else None

    def without(self, body: Json, name: str) -> Json:
        """Return the body without a field."""
        return _without(body, name)

    def learn(self, body: Json, names: list[str]) -> None:
        """Leave fields out from now on, as the request without them was taken."""
        model = str(body.get("model"))
        if len(self.refused) < _MOST_REMEMBERED:
            self.refused |= {(model, name) for name in names}
        _log.warning("upstream_refuses", model=model, what=names)

    def _is_optional(self, body: Json, name: str) -> bool:
        field = name.partition(".")[0]
        if field not in body:
            return False
        if name == "reasoning.effort":
            effort = body["reasoning"].get("effort")
            return effort is not None and effort == (self._own.get("reasoning") or {}).get("effort")
        return field in {"prompt_cache_key", "context_management"} or body[field] == self._own.get(field)


def field_of(param: str) -> str | None:
    """Return the optional field that a parameter such as `reasoning.effort` or `tools[0]` belongs to."""
    return _NAMES.get(param.replace("[", ".").partition(".")[0])


def _without(body: Json, name: str) -> Json:
    field = name.partition(".")[0]
    rest = {key: value for key, value in body.items() if key != field}
    if name == "reasoning.effort" and (left := {k: v for k, v in body["reasoning"].items() if k != "effort"}):
        rest["reasoning"] = left
    if name == "context_management":
        # The former way to fit a long thread in.
        rest["truncation"] = "auto"
    return rest
