"""What a translation needs to know beside the upstream object itself."""

from dataclasses import dataclass

from app.utils.ids import IdCodec


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
    is_brief: bool = False
    """For protocols that tell neither steps nor a run's settings: objects lack what is not told."""
