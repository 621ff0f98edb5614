"""What the table of turns takes and returns, and the errors that it raises."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.upstream.errors import UpstreamBrokenError
from app.translate.events import Json
from app.translate.replay import StoredItem


class UnsettledError(Exception):
    """The upstream works on a turn of the conversation, or has ended one that nobody has stored yet."""


class TurnLostError(UpstreamBrokenError):
    """The lease has run out and another turn has begun, or the conversation is deleted: nothing is stored."""

    def __init__(self) -> None:
        super().__init__(
            "The thread was deleted, or another request has taken it over. Send the message again."
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a turn to a conversation."""

    conversation_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A turn that has begun: its lease, the items that the model may be shown, and how many came before."""

    lease: Lease
    history: list[StoredItem]
    hidden: int


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """What a turn leaves: the response's last state, the items of input and output in order.

    `origin` names the model that wrote the output; `replayed_from` is the position of the first item that
    fits into its window, None if nothing has changed.
    """

    response: Json
    asked: Sequence[Json]
    answered: Sequence[Json]
    origin: str
    is_stored: bool
    replayed_from: int | None = None


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response of the store. `body` is empty where the upstream stores it and tells its state."""

    id: str
    conversation_id: str
    is_live: bool
    is_stored: bool
    fence: int
    deadline: float
    origin: str
    asked: list[Json]
    body: Json

    @property
    def lease(self) -> Lease:
        """The lease under which the response was begun."""
        return Lease(self.conversation_id, self.fence)
