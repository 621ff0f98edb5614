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
    """One account of one day: what is spent, what is reserved, and the percentage that has been told."""

    tokens: int = 0
    nanos: int = 0
    held_tokens: int = 0
    held_nanos: int = 0
    told: int = 0

    def with_turn(self, turn: Amount) -> Amount:
        """Return what is used with one more turn."""
        return Amount(self.tokens + self.held_tokens + turn.tokens, self.nanos + self.held_nanos + turn.nanos)

    def hold(self, tokens: int, nanos: int) -> None:
        """Reserve so much; less than nothing releases it."""
        self.held_tokens += tokens
        self.held_nanos += nanos


class _Turn(NamedTuple):
    """A turn that is not settled."""

    books: list[_Book]
    reserved: Amount
    expires_at: float


@dataclass(eq=False)
class MemoryLedger:
    """A ledger for one process; implements `Ledger`."""

    _books: dict[tuple[str, str], _Book] = field(default_factory=dict, init=False)
    _held: OrderedDict[str, _Turn] = field(default_factory=OrderedDict, init=False)
    """Reservations, those that expire first at the front: all turns have the same deadline."""
    _expired: dict[str, _Turn] = field(default_factory=dict, init=False)
    _sizes: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)
    _day: str = field(default="", init=False)

    async def reserve(self, wish: Wish) -> Answer:
        """Reserve a turn's estimate in all of its accounts or in none."""
        if wish.history is None:
            if (size := self._sizes.get(wish.conversation_id)) is None:
                return Answer(needs_history=True)
            wish = wish.with_history(size)
        self._tidy(wish.day)
        whole, accounts = wish.whole, wish.accounts
        books = [self._book(wish.day, account) for account in accounts]
        used = [book.with_turn(whole) for book in books]
        for account, book, wanted in zip(accounts, books, used, strict=True):
            if not account.has_room(wanted):
                spent = Amount(book.tokens + whole.tokens, book.nanos + whole.nanos)
                is_held = account.has_room(spent)
                reached = [] if is_held else _reached(account, book, 100)
                return Answer([wanted], account, reached, is_held)
        reached = []
        for account, book, wanted in zip(accounts, books, used, strict=True):
            book.hold(*whole)
            if book.told < 80 and account.share(wanted) >= WARN_SHARE:
                reached += _reached(account, book, 80)
        self._held[wish.id] = _Turn(books, whole, time.time() + wish.seconds)
        return Answer(used, None, reached)

    async def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, once."""
        self.settle_now(wish, billed, size)

    def settle_now(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Do the same without a task."""
        self._remember(wish.conversation_id, size)
        turn = self._release(wish.id) or self._expired.pop(wish.id, None)
        if turn is not None:
            tokens, nanos = turn.reserved if billed is None else billed
            for book in turn.books:
                book.tokens += tokens
                book.nanos += nanos

    def reserved(self, wish_id: str) -> Amount:
        """Return what was reserved for a turn that is not settled."""
        turn = self._held.get(wish_id) or self._expired.get(wish_id)
        return turn.reserved if turn else NOTHING

    @property
    def open_turns(self) -> int:
        """Number of reservations that hold."""
        return len(self._held)

    def spent(self, day: Day, account: str) -> Amount:
        """Return what an account has spent, without reservations."""
        book = self._books.get((day.name, account), _Book())
        return Amount(book.tokens, book.nanos)

    async def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that has changed."""
        self._sizes.pop(conversation_id, None)

    async def watch(self) -> None:
        """Do nothing: reservations expire when somebody asks for room."""

    def _book(self, day: Day, account: Account) -> _Book:
        return self._books.setdefault((day.name, account.name), _Book())

    def _tidy(self, day: Day) -> None:
        """Release what has expired, and forget the days before."""
        now = time.time()
        while self._held and (first := next(iter(self._held.items())))[1].expires_at <= now:
            released = self._release(first[0])
            if released is not None:
                self._expired[first[0]] = released
        if day.name != self._day:
            self._day = day.name
            # Turns that are under way have their books with them.
            self._books = {key: book for key, book in self._books.items() if key[0] == day.name}
            self._expired.clear()

    def _release(self, wish_id: str) -> _Turn | None:
        if (turn := self._held.pop(wish_id, None)) is not None:
            for book in turn.books:
                book.hold(-turn.reserved.tokens, -turn.reserved.nanos)
        return turn

    def _remember(self, conversation_id: str, size: int | None) -> None:
        if size is None:
            self._sizes.pop(conversation_id, None)
            return
        self._sizes[conversation_id] = size
        self._sizes.move_to_end(conversation_id)
        if len(self._sizes) > _MOST_SIZES:
            self._sizes.popitem(last=False)


def _reached(account: Account, book: _Book, percent: int) -> list[tuple[Account, int]]:
    if book.told >= percent:
        return []
    book.told = percent
    return [(account, percent)]
