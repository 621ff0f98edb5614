"""What the directory's table holds and is asked for; without SQLAlchemy, for services that have no store."""

from dataclasses import dataclass

MICROSECONDS = 1_000_000


class UnknownCursorError(LookupError):
    """A cursor names no thread of the list; `name` is `after` or `before`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Entry:
    """A thread of the directory."""

    conversation_id: str
    title: str | None
    metadata: dict[str, str]
    created_at: int
    """Unix time in seconds."""

    active_at: int
    """Unix time of the last activity, in microseconds."""

    @property
    def updated_at(self) -> int:
        """Unix time of the last activity, in seconds."""
        return max(self.created_at, self.active_at // MICROSECONDS)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Which threads of an owner to list, by last activity; `after` and `before` are conversation ids."""

    owner: str
    limit: int
    is_descending: bool = True
    after: str | None = None
    before: str | None = None
    only: str | None = None
    """Lists no other thread than this one."""

    words: str | None = None
