"""Every knob of the embedded upstream, in one frozen object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ResponderName = Literal["guide", "scripted", "local"]
FaultName = Literal["500", "429", "reset", "stall", "truncate", "bad-json", "hang"]

RESPONDERS: tuple[ResponderName, ...] = ("guide", "scripted", "local")
FAULTS: tuple[FaultName, ...] = ("500", "429", "reset", "stall", "truncate", "bad-json", "hang")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """How one embedded upstream answers, stores and misbehaves."""

    db: str = "data/embedded.db"
    """Path of the SQLite file; uploads lie in the folder `<db>.files` beside it. `:memory:` keeps nothing."""
    responder: ResponderName = "guide"
    docs: Path = Path()
    """Folder that holds README.md and docs/, which the guide answers from and serves as files."""
    docs_url: str = ""
    """Where a browser opens these documents, with a slash at its end; the guide's links begin with it."""
    local_model: Path | None = None
    """GGUF file of the local responder."""
    local_context_tokens: int = 4096
    local_threads: int | None = None
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
    """Seeds the draw that `fault_rate` makes."""
    chunk_bytes: int | None = None
    """Re-slices streams into writes of so many bytes."""
    api_key: str | None = None
    """When set, every request must carry it as a bearer token."""
    shutdown_date: str | None = None
    """What `GET /v1/models/{id}` tells as `shutdown_date`."""
    allow_assistants_download: bool = False
    """OpenAI refuses to hand out files of purpose `assistants`; true hands them out."""
    container_seconds: float = 1200.0
    """Life of a container that code interpreter made; 0 expires it at once."""
    max_file_bytes: int = 512 * 1024 * 1024
