"""What a translation needs to know beside the upstream object itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.utils.ids import IdCodec

PRIVATE_PREFIX = "soloist_"
"""Metadata keys that begin so are ours and never reach a client."""


def public_metadata(metadata: object) -> dict[str, Any]:
    """Return the client's own part of upstream metadata."""
    if not isinstance(metadata, Mapping):
        return {}
    return {key: value for key, value in metadata.items() if not key.startswith(PRIVATE_PREFIX)}


@dataclass(slots=True)
class RunContext:
    """Who looks at a run, and as part of which thread.

    `first_response_id` is set for the later rounds of a run with tool calls: the run keeps its first id.
    """

    ids: IdCodec
    thread_id: str
    assistant_id: str
    lifetime_seconds: int
    reveals_instructions: bool = True
    first_response_id: str | None = None
