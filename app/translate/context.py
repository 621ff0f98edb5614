"""What a translation needs beside the upstream object."""

from dataclasses import dataclass

from app.translate.own_calls import NONE, OwnTools
from app.utils.ids import IdCodec


@dataclass(slots=True)
class RunContext:
    """The thread and settings with which a run is shown to a caller.

    `first_response_id` is set in later rounds of a run with tool calls: the run keeps its first id.
    """

    ids: IdCodec
    thread_id: str
    assistant_id: str
    lifetime_seconds: int
    reveals_instructions: bool = True
    first_response_id: str | None = None
    own_tools: OwnTools = NONE
    """The functions that the service runs itself; their calls are not the client's to answer."""

    is_brief: bool = False
    """For protocols without steps and run settings: leave these out of objects."""
