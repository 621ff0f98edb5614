"""What has been spent and reserved in a day; in this process. Redis and the store keep it for replicas."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from app.core.budgets.rules import NOTHING, Account, Amount, Day
from app.core.observability.metrics import WARN_SHARE

SIZE_SECONDS = 7 * 86_400
"""How long the size of a thread is remembered after its last turn."""

_MOST_SIZES = 100_000


@dataclass(frozen=True, slots=True)
class Wish:
    """A turn that asks for room.

    Args:
        id: names the reservation.
        day: the day that the turn counts for.
        seconds: how long the reservation holds if it is not settled.
        accounts: the accounts that it counts for.
        amount: the estimate, without the history of the thread.
        conversation_id: the thread.
        history: how many tokens the thread has; None: as many as are remembered.
        nanos_per_token: the price of a token of the history.

    """

    id: str
    day: Day
    seconds: float
    accounts: Sequence[Account]
    amount: Amount
    conversation_id: str
    history: int | None
    nanos_per_token: float

    def with_history(self, tokens: int) -> "Wish":
        """Return the same wish for a thread of this size."""
        return replace(self, history=tokens)

    @property
    def whole(self) -> Amount:
        """The estimate with the history."""
        tokens = self.history or 0
        return self.amount.plus(Amount(tokens, round(tokens * self.nanos_per_token)))


class Answer(NamedTuple):
    """What became of a wish."""

    used: Sequence[Amount] = ()
    """What is spent and reserved of each account, with this turn unless it was refused."""

    over: Account | None = None
    """The account without room."""

    reached: Sequence[tuple[Account, int]] = ()
    """Accounts that are at 80 or 100 percent, each said once in a day, and the percentage."""

    is_held: bool = False
    """Whether there would be room but for turns that are under way."""

    needs_history: bool = False
    """Nothing was reserved: the size of the thread is not known."""


class Ledger(Protocol):
    """Keeps accounts by day. Failures to reach what keeps them raise a `ServiceError`."""

    async def reserve(self, wish: Wish) -> Answer:
        """Reserve a turn's estimate in all of its accounts or in none."""

    async def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, once; also after it has expired.

        Without `billed`, what was reserved counts. `size` is how many tokens the thread has now; None is for
        a size that is not known any more.
        """

    async def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that has changed."""

    async def watch(self) -> None:
        """Do what has to be done now and then, until cancelled."""


@dataclass(slots=True)
class _Book:
    """One account of one day."""

    spent: Amount = NOTHING
    held: Amount = NOTHING
    told: int = 0


@dataclass(eq=False)
class MemoryLedger:
    """A ledger for one process; implements `Ledger`."""

    _books: dict[tuple[str, str], _Book] = field(default_factory=dict, init=False)
    _held: dict[str, tuple[Wish, float]] = field(default_factory=dict, init=False)
    _open: dict[str, Amount] = field(default_factory=dict, init=False)
    _sizes: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)

    async def reserve(self, wish: Wish) -> Answer:
        """Reserve a turn's estimate in all of its accounts or in none."""
        if wish.history is None:
            if (size := self._sizes.get(wish.conversation_id)) is None:
                return Answer(needs_history=True)
            wish = wish.with_history(size)
        self._expire(wish.day)
        books = [self._book(wish, account) for account in wish.accounts]
        used = [book.spent.plus(book.held).plus(wish.whole) for book in books]
        for account, book, wanted in zip(wish.accounts, books, used, strict=True):
            if not account.has_room(wanted):
                is_held = account.has_room(book.spent.plus(wish.whole))
                reached = [] if is_held else self._reached(account, book, 100)
                return Answer([wanted], account, reached, is_held)
        reached = []
        for account, book, wanted in zip(wish.accounts, books, used, strict=True):
            book.held = book.held.plus(wish.whole)
            if account.share(wanted) >= WARN_SHARE:
                reached += self._reached(account, book, 80)
        self._held[wish.id] = wish, time.time() + wish.seconds
        self._open[wish.id] = wish.whole
        return Answer(used, None, reached)

    async def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, once."""
        self._remember(wish.conversation_id, size)
        self._release(wish.id)
        if (reserved := self._open.pop(wish.id, None)) is not None:
            for account in wish.accounts:
                book = self._book(wish, account)
                book.spent = book.spent.plus(reserved if billed is None else billed)

    def reserved(self, wish_id: str) -> Amount:
        """Return what was reserved for a turn that is not settled."""
        return self._open.get(wish_id, Amount())

    async def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that has changed."""
        self._sizes.pop(conversation_id, None)

    async def watch(self) -> None:
        """Do nothing: reservations expire when somebody asks for room."""

    def _book(self, wish: Wish, account: Account) -> _Book:
        return self._books.setdefault((wish.day.name, account.name), _Book())

    def _reached(self, account: Account, book: _Book, percent: int) -> list[tuple[Account, int]]:
        if book.told >= percent:
            return []
        book.told = percent
        return [(account, percent)]

    def _expire(self, day: Day) -> None:
        now = time.time()
        for wish_id in [found for found, (_, until) in self._held.items() if until <= now]:
            self._release(wish_id)
        for key in [key for key in self._books if key[0] < day.name]:
            if all(wish.day.name != key[0] for wish, _ in self._held.values()):
                del self._books[key]

    def _release(self, wish_id: str) -> None:
        if (found := self._held.pop(wish_id, None)) is not None:
            wish, _ = found
            for account in wish.accounts:
                book = self._book(wish, account)
                book.held = book.held.plus(Amount(-wish.whole.tokens, -wish.whole.nanos))

    def _remember(self, conversation_id: str, size: int | None) -> None:
        if size is None:
            self._sizes.pop(conversation_id, None)
            return
        self._sizes[conversation_id] = size
        self._sizes.move_to_end(conversation_id)
        if len(self._sizes) > _MOST_SIZES:
            self._sizes.popitem(last=False)
