"""Every knob of the embedded upstream, in one frozen object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ResponderName = Literal["guide", "scripted"]
Kind = Literal["conversations", "responses", "nothing"]
Unsupported = Literal["refuse", "ignore"]
FaultName = Literal["500", "429", "reset", "stall", "truncate", "bad-json", "hang"]

RESPONDERS: tuple[ResponderName, ...] = ("guide", "scripted")
KINDS: tuple[Kind, ...] = ("conversations", "responses", "nothing")
UNSUPPORTED: tuple[Unsupported, ...] = ("refuse", "ignore")
FAULTS: tuple[FaultName, ...] = ("500", "429", "reset", "stall", "truncate", "bad-json", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """How one embedded upstream answers, stores and misbehaves."""

    db: str = "data/embedded.db"
    """Path of the SQLite file; uploads lie in the folder `<db>.files` beside it. `:memory:` keeps nothing."""
    kind: Kind = "conversations"
    """What is kept, as at OpenAI (conversations), Azure (stored responses only) or Ollama (nothing)."""
    unsupported: Unsupported = "refuse"
    """Kind `nothing`: refuse what it lacks, as vLLM does, or ignore it and tell little, as llama.cpp does."""
    context_items: int | None = None
    """The longest history and input, in items; more is refused with `context_length_exceeded`."""
    responder: ResponderName = "guide"
    model: str = "soloist-scripted"
    """Name of the model that the scripted responder stands for."""
    docs: Path = Path()
    """Folder that holds README.md and docs/, which the guide answers from and serves as files."""
    docs_url: str = ""
    """Where a browser opens these documents, with a slash at its end; the guide's links begin with it."""
    first_token_ms: float = 0.0
    """Wait before the first piece of every answer."""
    token_ms: float = 0.0
    """Wait before every text delta."""
    fault: FaultName | None = None
    fault_rate: float = 1.0
    """Share of requests, 0 to 1, that suffer the fault."""
    fault_after: int = 4
    """Events sent before reset, stall, truncate and bad-json strike."""
    seed: int = 0
    """Seeds the draw that `fault_rate` makes; reasoning sealed under another one cannot be read."""
    chunk_bytes: int | None = None
    """Re-slices streams into writes of so many bytes."""
    api_key: str | None = None
    """When set, every request must carry it as a bearer token."""
    shutdown_date: str | None = None
    """What `GET /v1/models/{id}` tells as `shutdown_date`."""
    container_seconds: float = 1200.0
    """Life of a container that code interpreter made; 0 expires it at once."""
    max_file_bytes: int = 512 * 1024 * 1024
