"""The history of runs in upstream metadata, since the upstream cannot list the responses of a conversation.

A response's metadata names the rounds of tool calls before it: see `RunRounds`. A conversation's metadata has
two keys, each within the upstream's 512 characters. `soloist_runs` lists the latest runs, newest first.
`soloist_run` has what a run's first response does not tell: the response of its current round of tool calls
(`first>current`), and how it ended (`first>current!expired`, or `first>!cancelled` in its first round).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from app.translate.events import Json

PRIVATE_PREFIX = "soloist_"
"""Metadata keys with this prefix are ours and never reach a client."""

RUNS_KEY = "soloist_runs"
STATES_KEY = "soloist_run"
APPROVED = "approved"
"""In place of how a run ended: somebody makes its approved calls, or died of it. It is no public status."""

_MAX_RUNS = 10
_MAX_CHARS = 512
_PREFIX = "resp_"
# They become parts of paths; what others wrote there is no id.
_ID = re.compile(r"[!$-~]{1,1024}\Z")
_STATE = re.compile(r"[!$-~]+>[!$-~]*\Z")
_NUMBER = re.compile(r"[0-9]{1,15}\Z")


class RunHistory:
    """The known runs of one conversation, by upstream response ids."""

    def __init__(self, run_ids: list[str], states: dict[str, str]) -> None:
        self.run_ids = run_ids
        """The ids of the runs' first responses, newest first."""
        self._states = states

    @classmethod
    def read(cls, metadata: object) -> Self:
        """Read both keys from conversation metadata; unreadable entries count as absent."""
        found = metadata if isinstance(metadata, Mapping) else {}
        # Earlier versions appended a time to some ids.
        names = [part.partition("@")[0] for part in str(found.get(RUNS_KEY) or "").split(",")]
        pairs = [
            part.partition(">") for part in str(found.get(STATES_KEY) or "").split(",") if _STATE.match(part)
        ]
        states = {_long(first): _long_state(state) for first, _, state in pairs}
        return cls([_long(name) for name in names if _ID.match(name)], states)

    def add_run(self, response_id: str) -> None:
        """Add a new run; the oldest one is dropped if there are too many."""
        if response_id not in self.run_ids:
            self.run_ids = [response_id, *self.run_ids][:_MAX_RUNS]

    def set_round(self, first_id: str, current_id: str) -> None:
        """Set the response of a run's current round."""
        self._states = {first_id: current_id, **{k: v for k, v in self._states.items() if k != first_id}}

    def set_ended(self, first_id: str, status: str) -> None:
        """Set how a run ended, for ends that the upstream does not know."""
        current_id = self.current_of(first_id)
        self.set_round(first_id, f"{'' if current_id == first_id else current_id}!{status}")

    def current_of(self, first_id: str) -> str:
        """Return the id of the response of a run's current round."""
        return self._states.get(first_id, "").partition("!")[0] or first_id

    def ended_as(self, first_id: str) -> str | None:
        """Return the status that `set_ended` was given, if any."""
        return self._states.get(first_id, "").partition("!")[2] or None

    def metadata(self) -> dict[str, str]:
        """Return both keys as they are stored, without empty ones."""
        runs = _fit([_short(run_id) for run_id in self.run_ids])
        states = _fit([f"{_short(first)}>{_short_state(state)}" for first, state in self._states.items()])
        return {key: value for key, value in ((RUNS_KEY, runs), (STATES_KEY, states)) if value}


def public_metadata(metadata: object) -> dict[str, Any]:
    """Return the client's part of upstream metadata."""
    if not isinstance(metadata, Mapping):
        return {}
    return {key: value for key, value in metadata.items() if not key.startswith(PRIVATE_PREFIX)}


def without_history(metadata: object) -> dict[str, str]:
    """Return metadata without the two keys of the run history."""
    found = metadata if isinstance(metadata, Mapping) else {}
    return {key: value for key, value in found.items() if key not in {RUNS_KEY, STATES_KEY}}


def private_metadata(metadata: object) -> dict[str, str]:
    """Return our part of upstream metadata."""
    found = metadata if isinstance(metadata, Mapping) else {}
    return {key: value for key, value in found.items() if key.startswith(PRIVATE_PREFIX)}


# The oldest entries come last and are dropped first.
def _fit(parts: list[str]) -> str:
    while parts and len(",".join(parts)) > _MAX_CHARS:
        parts = parts[:-1]
    return ",".join(parts)


def _short(run_id: str) -> str:
    return run_id[len(_PREFIX) :] if run_id.startswith(_PREFIX) else "~" + run_id


def _short_state(state: str) -> str:
    current_id, mark, status = state.partition("!")
    return (_short(current_id) if current_id else "") + mark + status


def _long_state(state: str) -> str:
    name, mark, status = state.partition("!")
    return (_long(name) if name else "") + mark + status


def _long(name: str) -> str:
    return name[1:] if name.startswith("~") else _PREFIX + name


def moment_of(value: object) -> int | None:
    """Return a unix time in whole seconds; None if `value` is no time."""
    return int(value) if isinstance(value, int | float) and value > 0 else None


def usage_object(response: Json, before: tuple[int, int] = (0, 0)) -> Json | None:
    """Return a response's token counts; `before` has prompt and completion tokens of earlier rounds."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = int(usage.get("input_tokens") or 0) + before[0]
    completion = int(usage.get("output_tokens") or 0) + before[1]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass(frozen=True, slots=True)
class RunRounds:
    """The earlier rounds of a run, in the metadata key `soloist_round` of a response.

    Its form is `first,previous,created_at,prompt_tokens,completion_tokens,mark mark …`, with upstream ids.
    """

    KEY: ClassVar = "soloist_round"
    FORMER_KEY: ClassVar = "soloist_run"
    """The key of responses from before 2026-12; upstreams keep responses for 30 days."""

    first: str | None = None
    previous: str | None = None
    created_at: int = 0
    tokens: tuple[int, int] = (0, 0)
    marks: list[str] = field(default_factory=list)
    """The names of the run's overrides, and the kinds of calls beside functions that its client answers."""

    @classmethod
    def read(cls, response: Json) -> Self:
        """Read the key; if it is absent or unreadable, this is a first round."""
        metadata = response.get("metadata")
        found = metadata if isinstance(metadata, dict) else {}
        parts = str(found.get(cls.KEY) or found.get(cls.FORMER_KEY) or "").split(",")
        if len(parts) != 6:
            return cls()
        created_at, *tokens = (int(part) if _NUMBER.match(part) else 0 for part in parts[2:5])
        first, previous = (part if _ID.match(part) else None for part in parts[:2])
        return cls(first, previous, created_at, (tokens[0], tokens[1]), parts[5].split())

    @classmethod
    def start(cls, marks: Iterable[str]) -> dict[str, str]:
        """Return the metadata of a first round."""
        names = " ".join(sorted(marks))
        return {cls.KEY: f",,,,,{names}"} if names else {}

    @classmethod
    def follow(cls, response: Json) -> dict[str, str]:
        """Return the metadata of the round that follows `response`."""
        rounds = cls.read(response)
        used = usage_object(response, rounds.tokens) or {"prompt_tokens": 0, "completion_tokens": 0}
        created = rounds.created_at or moment_of(response.get("created_at")) or 0
        ids = f"{rounds.first or response['id']},{response['id']}"
        tokens = f"{used['prompt_tokens']},{used['completion_tokens']}"
        return {cls.KEY: f"{ids},{created},{tokens},{' '.join(rounds.marks)}"}
