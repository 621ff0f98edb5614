"""What a conversation's metadata remembers of its runs: the upstream lists no responses of a conversation.

Two keys, each within the upstream's 512 characters: `soloist_runs` names the latest runs, newest first, and
`soloist_run` says for a run what its own response cannot: the response of its current round of tool calls
(`first>current`), and how it ended here (`first>current!expired`, `first>!cancelled` in its first round).
"""

from collections.abc import Mapping
from typing import Self

from app.translate.context import PRIVATE_PREFIX
from app.utils.ids import created_at_of, origin_of

RUNS_KEY = "soloist_runs"
STATES_KEY = "soloist_run"
_MAX_RUNS = 10
_MAX_CHARS = 512
_PREFIX = "resp_"


class RunHistory:
    """The remembered runs of one conversation; ids are upstream response ids."""

    def __init__(self, runs: list[tuple[str, int]], states: dict[str, str]) -> None:
        self._runs = runs
        self._states = states
        self._origins: dict[str | None, str] | None = None

    @classmethod
    def read(cls, metadata: object) -> Self:
        """Read both keys from conversation metadata; what cannot be read counts as absent."""
        found = metadata if isinstance(metadata, Mapping) else {}
        runs = [_parse_run(part) for part in str(found.get(RUNS_KEY) or "").split(",") if part]
        pairs = [part.partition(">") for part in str(found.get(STATES_KEY) or "").split(",") if ">" in part]
        return cls(
            runs,
            {_long(first): _long_state(state) for first, _, state in pairs},
        )

    @property
    def run_ids(self) -> list[str]:
        """First response ids of the runs, newest first."""
        return [run_id for run_id, _ in self._runs]

    def add_run(self, response_id: str, created_at: int) -> None:
        """Remember a new run; the oldest beyond what fits is forgotten."""
        if response_id not in self.run_ids:
            self._runs = [(response_id, created_at), *self._runs][:_MAX_RUNS]
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
        """Return the run that most likely wrote an assistant's message, None if older than all known ones."""
        if (first_id := self._first_of(origin_of(item_id))) is not None:
            return first_id
        moment = created_at_of(item_id)
        if moment is None:
            return None
        return next((run_id for run_id, began in self._runs if began and began <= moment), None)

    def _first_of(self, origin: str | None) -> str | None:
        """Return the newest run one of whose responses has an origin."""
        if self._origins is None:
            self._origins = {}
            for first_id in reversed(self.run_ids):
                for response_id in (first_id, self.current_of(first_id)):
                    self._origins[origin_of(response_id)] = first_id
        return self._origins.get(origin) if origin else None

    def metadata(self) -> dict[str, str]:
        """Return both keys as they are stored; empty ones are left out."""
        runs = _fit([_format_run(run_id, began) for run_id, began in self._runs])
        states = _fit([f"{_short(first)}>{_short_state(state)}" for first, state in self._states.items()])
        return {key: value for key, value in ((RUNS_KEY, runs), (STATES_KEY, states)) if value}


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


def _format_run(run_id: str, began: int) -> str:
    return _short(run_id) if created_at_of(run_id) else f"{_short(run_id)}@{began:x}"


def _parse_run(part: str) -> tuple[str, int]:
    name, _, began = part.partition("@")
    run_id = _long(name)
    try:
        return run_id, int(began, 16) if began else created_at_of(run_id) or 0
    except ValueError:
        return run_id, 0


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
