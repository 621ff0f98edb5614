"""What a response says of the upstream's moderation."""

import re
from collections.abc import Iterator
from typing import Literal

from app.translate.events import Json
from app.translate.failures import code_of

Stage = Literal["input", "output"]
Outcome = Literal["flagged", "blocked", "failed"]

_STAGES: tuple[Stage, ...] = ("input", "output")
# OpenAI does not document the code; these are what it and gateways call a refusal for content.
_BLOCKING = re.compile(r"moderation|content_(filter|policy|block)|(invalid|flagged)_prompt|\b\w+_policy\b")


def is_block(code: object) -> bool:
    """Return whether an error code of the upstream says that the content was the reason."""
    return isinstance(code, str) and bool(_BLOCKING.search(code))


def flagged(response: Json) -> list[Stage]:
    """Return what was flagged: the input, the output, or both."""
    return [stage for stage in _STAGES if _result(response, stage).get("flagged") is True]


def is_input_blocked(response: Json) -> bool:
    """Return whether a response ended before the model said anything, because its input was flagged."""
    if response.get("output") or not _is_stopped(response):
        return False
    return "input" in flagged(response) or is_block(code_of(response.get("error")))


def findings(response: Json) -> Iterator[tuple[Stage, Outcome]]:
    """Yield what moderation found in a response that has ended."""
    stages = flagged(response)
    if _is_stopped(response):
        yield ("input" if is_input_blocked(response) else "output"), "blocked"
    else:
        yield from ((stage, "flagged") for stage in stages)
    for stage in _STAGES:
        if _result(response, stage).get("type") == "error":
            yield stage, "failed"


def _is_stopped(response: Json) -> bool:
    details = response.get("incomplete_details") or {}
    return details.get("reason") == "content_filter" or is_block(code_of(response.get("error")))


def _result(response: Json, stage: Stage) -> Json:
    checks = response.get("moderation")
    found = checks.get(stage) if isinstance(checks, dict) else None
    return found if isinstance(found, dict) else {}
