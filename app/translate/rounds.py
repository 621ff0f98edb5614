"""The rounds of a run with tool calls: each is a response of its own, the run is one."""

from collections.abc import Iterable
from typing import Self

from app.translate.events import Json


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
    """What a later round's response remembers of the earlier ones, in its metadata key `soloist_run`.

    Form: `first,previous,created_at,prompt_tokens,completion_tokens,override override …`, with upstream ids.
    """

    KEY = "soloist_run"

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
        parts = str(metadata.get(cls.KEY) or "").split(",") if isinstance(metadata, dict) else []
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
