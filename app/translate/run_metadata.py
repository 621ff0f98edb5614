"""What metadata remembers of runs, since the upstream lists no responses of a conversation.

A response's metadata says which rounds of tool calls came before it: see `RunRounds`. The metadata of a
conversation has two keys, each within the upstream's 512 characters: `soloist_runs` names the latest runs,
newest first, and `soloist_run` says for a run what its own response cannot: the response of its current round
of tool calls (`first>current`), and how it ended here (`first>current!expired`, `first>!cancelled` in its
first round).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from app.translate.events import Json
from app.utils.ids import origin_of

PRIVATE_PREFIX = "soloist_"
"""Metadata keys that begin so are ours and never reach a client."""

RUNS_KEY = "soloist_runs"
STATES_KEY = "soloist_run"
_MAX_RUNS = 10
_MAX_CHARS = 512
_PREFIX = "resp_"


class RunHistory:
    """The remembered runs of one conversation; ids are upstream response ids."""

    def __init__(self, run_ids: list[str], states: dict[str, str]) -> None:
        self.run_ids = run_ids
        """First response ids of the runs, newest first."""
        self._states = states
        self._origins: dict[str | None, str] | None = None

    @classmethod
    def read(cls, metadata: object) -> Self:
        """Read both keys from conversation metadata; what cannot be read counts as absent."""
        found = metadata if isinstance(metadata, Mapping) else {}
        # Former versions wrote a time behind some ids.
        names = [part.partition("@")[0] for part in str(found.get(RUNS_KEY) or "").split(",")]
        pairs = [part.partition(">") for part in str(found.get(STATES_KEY) or "").split(",") if ">" in part]
        states = {_long(first): _long_state(state) for first, _, state in pairs}
        return cls([_long(name) for name in names if name], states)

    def add_run(self, response_id: str) -> None:
        """Remember a new run; the oldest beyond what fits is forgotten."""
        if response_id not in self.run_ids:
            self.run_ids = [response_id, *self.run_ids][:_MAX_RUNS]
            self._origins = None

    def set_round(self, first_id: str, current_id: str) -> None:
        """Remember which response a run's current round is."""
        self._states = {first_id: current_id, **{k: v for k, v in self._states.items() if k != first_id}}
        self._origins = None

    def set_ended(self, first_id: str, status: str) -> None:
        """Remember how a run ended where the upstream does not know it."""
        current_id = self.current_of(first_id)
        self.set_round(first_id, f"{'' if current_id == first_id else current_id}!{status}")

    def current_of(self, first_id: str) -> str:
        """Return the response of the run's current round."""
        return self._states.get(first_id, "").partition("!")[0] or first_id

    def ended_as(self, first_id: str) -> str | None:
        """Return how the run ended here, if that was remembered."""
        return self._states.get(first_id, "").partition("!")[2] or None

    def run_of_message(self, item_id: str) -> str | None:
        """Return the remembered run that wrote an assistant's message, where their ids tell."""
        origin = origin_of(item_id)
        if self._origins is None:
            self._origins = {}
            for first_id in reversed(self.run_ids):
                for response_id in (first_id, self.current_of(first_id)):
                    self._origins[origin_of(response_id)] = first_id
        return self._origins.get(origin) if origin else None

    def metadata(self) -> dict[str, str]:
        """Return both keys as they are stored; empty ones are left out."""
        runs = _fit([_short(run_id) for run_id in self.run_ids])
        states = _fit([f"{_short(first)}>{_short_state(state)}" for first, state in self._states.items()])
        return {key: value for key, value in ((RUNS_KEY, runs), (STATES_KEY, states)) if value}


def public_metadata(metadata: object) -> dict[str, Any]:
    """Return the client's own part of upstream metadata."""
    if not isinstance(metadata, Mapping):
        return {}
    return {key: value for key, value in metadata.items() if not key.startswith(PRIVATE_PREFIX)}


def without_history(metadata: object) -> dict[str, str]:
    """Return metadata without the two keys, our other private ones and the client's kept."""
    found = metadata if isinstance(metadata, Mapping) else {}
    return {key: value for key, value in found.items() if key not in {RUNS_KEY, STATES_KEY}}


def private_metadata(metadata: object) -> dict[str, str]:
    """Return only what is ours."""
    found = metadata if isinstance(metadata, Mapping) else {}
    return {key: value for key, value in found.items() if key.startswith(PRIVATE_PREFIX)}


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
    """Return a unix time in whole seconds, None for what is none."""
    return int(value) if isinstance(value, int | float) and value > 0 else None


def usage_object(response: Json, before: tuple[int, int] = (0, 0)) -> Json | None:
    """Return token counts; `before` holds prompt and completion tokens of the run's earlier rounds."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = int(usage.get("input_tokens") or 0) + before[0]
    completion = int(usage.get("output_tokens") or 0) + before[1]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class RunRounds:
    """What a later round's response remembers of the earlier ones, in its metadata key `soloist_round`.

    Form: `first,previous,created_at,prompt_tokens,completion_tokens,override override …`, with upstream ids.
    """

    KEY = "soloist_round"
    FORMER_KEY = "soloist_run"
    """What responses carry that were made before 2026-12; upstreams keep them for 30 days."""

    def __init__(
        self,
        first: str | None,
        previous: str | None,
        created_at: int,
        tokens: tuple[int, int],
        overrides: str,
    ) -> None:
        self.first = first
        self.previous = previous
        self.created_at = created_at
        self.tokens = tokens
        self.overrides = overrides.split()

    @classmethod
    def read(cls, response: Json) -> Self:
        """Read the key; absent or unreadable means a first round."""
        metadata = response.get("metadata")
        found = metadata if isinstance(metadata, dict) else {}
        parts = str(found.get(cls.KEY) or found.get(cls.FORMER_KEY) or "").split(",")
        if len(parts) != 6:
            return cls(None, None, 0, (0, 0), "")
        numbers = [int(part) if part.isdigit() else 0 for part in parts[2:5]]
        return cls(parts[0] or None, parts[1] or None, numbers[0], (numbers[1], numbers[2]), parts[5])

    @classmethod
    def start(cls, overrides: Iterable[str]) -> dict[str, str]:
        """Return the metadata of a first round: only what was overridden needs remembering."""
        names = " ".join(sorted(overrides))
        return {cls.KEY: f",,,,,{names}"} if names else {}

    @classmethod
    def follow(cls, response: Json) -> dict[str, str]:
        """Return the metadata of the round that follows `response`."""
        rounds = cls.read(response)
        used = usage_object(response, rounds.tokens) or {"prompt_tokens": 0, "completion_tokens": 0}
        created = rounds.created_at or moment_of(response.get("created_at")) or 0
        parts = (
            rounds.first or response["id"],
            response["id"],
            created,
            used["prompt_tokens"],
            used["completion_tokens"],
        )
        return {cls.KEY: ",".join(map(str, parts)) + "," + " ".join(rounds.overrides)}
