"""Reserves what a turn may take before it is sent upstream, and counts what it took."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import orjson
import structlog

from app.core.background import BackgroundTasks
from app.core.budgets.ledger import Ledger, MemoryLedger, Wish
from app.core.budgets.rules import Account, AccountKind, Amount, BudgetRules, Day
from app.core.caller import RequestScope
from app.core.errors import RateLimitedError, ServiceError
from app.core.observability.metrics import WARN_SHARE, Metrics
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import UpstreamBrokenError, UpstreamTimeoutError
from app.core.upstream.responses import Responses
from app.translate.events import Json
from app.translate.objects import LIVE

_log = structlog.get_logger(__name__)
USED_HEADER = "x-budget-used"
"""From 80 percent on: which budget is how far used, such as `user;percent=83`."""

_UNCAPPED_OUTPUT = 4_000
"""Tokens that are reserved for an answer without MAX_OUTPUT_TOKENS."""

_HELD_SECONDS = 5
"""When to retry where only turns under way are in the way."""

_ITEM_TOKENS = 16
_FILE_TOKENS = 2_000
_FILE_PARTS = frozenset({"input_image", "input_file"})
_TEXTS = ("text", "arguments", "output", "input", "content")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_FOREGROUND_LOOKS = 3
_MAYBE_BILLED = (asyncio.CancelledError, UpstreamBrokenError, UpstreamTimeoutError)
"""Failures after which the upstream may have worked, and billed."""


class BudgetReached(NamedTuple):
    """A budget that has come to 80 or 100 percent; each is told once in a day."""

    kind: AccountKind
    account: str
    """`total`, or the kind with a hash of the user."""

    percent: int
    tokens: int
    cost: float
    day: str
    resets_at: int


class BudgetExceededError(RateLimitedError):
    """There is no room for the turn in a budget until the next day; `resets_at` is in unix seconds."""

    code = "budget_exceeded"

    def __init__(self, account: Account, day: Day, *, is_held: bool) -> None:
        seconds = max(1, day.ends_at - int(time.time()))
        if is_held:
            seconds = min(seconds, _HELD_SECONDS)
        whose = {"total": "of this service", "user": "of this user", "session": "of this session"}
        why = "is reserved for turns under way" if is_held else "has no room for this turn"
        message = f"The budget {whose[account.kind]} {why}. Retry in {seconds} s."
        # SDKs would wait until midnight, or ask again at once.
        headers = {} if is_held else {"x-should-retry": "false"}
        super().__init__(message, headers={"retry-after": str(seconds), **headers})
        self.resets_at = day.ends_at

    def detail(self) -> dict[str, Any]:
        """Return the inside of the envelope."""
        return super().detail() | {"resets_at": self.resets_at}


@dataclass(eq=False)
class Budgets:
    """Reserves and counts turns.

    Args:
        rules: the limits.
        ledger: keeps what is spent and reserved.
        responses: tells the end of turns that nobody here has seen.
        conversations: tells the size of threads that are not known.
        background: carries out what nobody waits for.
        metrics: counts warnings and refusals.
        seconds: the deadline of a turn; then its reservation expires.
        on_reached: called when a budget comes to 80 or 100 percent.

    """

    rules: BudgetRules
    ledger: Ledger
    responses: Responses
    conversations: Conversations
    background: BackgroundTasks
    metrics: Metrics
    seconds: float
    on_reached: Callable[[BudgetReached], None] | None = None
    is_on: bool = field(init=False)
    """Whether there is any budget but those of sessions."""
    _fixed: tuple[tuple[Any, ...], int] = field(default=((), 0), init=False)
    _id: str = field(default_factory=lambda: secrets.token_hex(8), init=False)
    _numbers: Iterator[int] = field(default_factory=count, init=False)
    _has_sessions: bool = field(default=False, init=False)
    _settling: dict[str, "asyncio.Task[None]"] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.is_on = self.rules.is_on

    async def reserve(self, scope: RequestScope, params: Json) -> "Reservation":
        """Reserve what a turn may take; raises `BudgetExceededError` if there is no room for it."""
        conversation_id = params["conversation"]
        self._has_sessions = self._has_sessions or scope.caller.budget_tokens is not None
        if (settling := self._settling.get(conversation_id)) is not None:
            # The turn before it may have made the thread longer.
            await asyncio.wait([settling])
        wish = self._wish(scope, params)
        if wish.history is None and not params["input"]:
            # The turn answers messages that came since the last one.
            wish = wish.with_history(await self._history(conversation_id))
        answer = await self.ledger.reserve(wish)
        if answer.needs_history:
            wish = wish.with_history(await self._history(conversation_id))
            answer = await self.ledger.reserve(wish)
        for account, percent in answer.reached:
            self._tell(account, percent, answer.used, wish)
        if answer.over is not None:
            self.metrics.budget_refused(answer.over.kind)
            raise BudgetExceededError(answer.over, wish.day, is_held=answer.is_held)
        most = 0.0
        for account, used in zip(wish.accounts, answer.used, strict=True):
            share = account.share(used)
            self.metrics.budget_share(account.kind, share)
            if share >= WARN_SHARE and share > most:
                most = share
                scope.headers[USED_HEADER] = f"{account.kind};percent={int(share * 100)}"
        return Reservation(self, wish, str(params.get("model")))

    async def check(self, scope: RequestScope, params: Json) -> None:
        """Raise `BudgetExceededError` if there is no room for a turn now."""
        if self.is_on or scope.caller.budget_tokens is not None:
            (await self.reserve(scope, params)).release()

    def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that got or lost messages."""
        if self.is_on or self._has_sessions:
            self.background.spawn(self.ledger.forget(conversation_id))

    def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, soon; the thread's next turn waits for it."""
        if isinstance(self.ledger, MemoryLedger):
            self.ledger.settle_now(wish, billed, size)
            return
        conversation_id = wish.conversation_id
        work = self.ledger.settle(wish, billed, size)
        task = self._settling[conversation_id] = self.background.spawn(work)

        def done(_task: "asyncio.Task[None]") -> None:
            if self._settling.get(conversation_id) is task:
                del self._settling[conversation_id]

        task.add_done_callback(done)

    def _wish(self, scope: RequestScope, params: Json) -> Wish:
        model = str(params.get("model"))
        read = self._fixed_size(params) + sum(map(size_of, params["input"]))
        written = int(params.get("max_output_tokens") or _UNCAPPED_OUTPUT)
        return Wish(
            f"{self._id}{next(self._numbers):x}",
            self.rules.today(),
            self.seconds,
            self.rules.accounts(scope.caller),
            self.rules.estimated(model, read, written),
            params["conversation"],
            0 if scope.has_new_thread else None,
            self.rules.nanos_per_token(model),
        )

    def _fixed_size(self, params: Json) -> int:
        """Return about how many tokens instructions and tools take; counted again when they change."""
        parts = tuple(params.get(name) for name in ("instructions", "tools", "text"))
        known, size = self._fixed
        if len(known) != len(parts) or any(one is not other for one, other in zip(known, parts, strict=True)):
            # The operator's own texts: two bytes make a token at least in every language.
            size = len(orjson.dumps(parts)) // 2 + _ITEM_TOKENS
            self._fixed = parts, size
        return size

    async def _history(self, conversation_id: str) -> int:
        """Return how many tokens a thread has at most."""
        return sum([size_of(item) async for item in self.conversations.items(conversation_id)])

    def _tell(self, account: Account, percent: int, used: Any, wish: Wish) -> None:
        spent = used[0] if len(used) == 1 else used[list(wish.accounts).index(account)]
        reached = BudgetReached(
            account.kind,
            account.name,
            percent,
            spent.tokens,
            spent.nanos / 1e9,
            wish.day.name,
            wish.day.ends_at,
        )
        _log.warning("budget_reached", budget=account.kind, percent=percent, day=wish.day.name)
        if self.on_reached is not None:
            self.on_reached(reached)


@dataclass(eq=False)
class Reservation:
    """The room of one turn; it is settled once."""

    budgets: Budgets
    wish: Wish
    model: str
    _is_over: bool = field(default=False, init=False)

    def left(self, response: Json | None) -> None:
        """Count a turn whose stream or call is over; the upstream is asked for an end not seen."""
        if self._is_over:
            return
        self._is_over = True
        if response is None:
            self._count_whole()
        elif response.get("status") in LIVE:
            self.budgets.background.spawn(self._watch(response))
        else:
            self._count(response)

    def failed(self, failure: BaseException) -> None:
        """Release the room of a turn that was refused, or keep it if the upstream may have worked."""
        if self._is_over:
            return
        self._is_over = True
        if isinstance(failure, _MAYBE_BILLED):
            self._count_whole()
        else:
            self.release()

    def release(self) -> None:
        """Give back the room of a turn that was not begun."""
        self._is_over = True
        self.budgets.settle(self.wish, Amount(), None)

    def _count(self, response: Json) -> None:
        billed = self.budgets.rules.billed(response, self.model)
        if billed is not None:
            self.budgets.settle(self.wish, billed, billed.tokens)
        elif response.get("status") == "failed":
            self.release()
        else:
            self._count_whole()

    def _count_whole(self) -> None:
        """Count the estimate: the upstream does not say what it billed."""
        self.budgets.settle(self.wish, None, None)

    async def _watch(self, response: Json) -> None:
        """Read a response until it has ended; a foreground one ends with its connection, or never tells."""
        deadline = time.monotonic() + self.wish.seconds
        pause, looks = _FIRST_PAUSE_SECONDS, 0
        is_in_background = response.get("background") is True
        while time.monotonic() < deadline and (is_in_background or looks < _FOREGROUND_LOOKS):
            await asyncio.sleep(pause)
            pause, looks = min(pause * 2, _LONGEST_PAUSE_SECONDS), looks + 1
            try:
                response = await self.budgets.responses.get(str(response["id"]))
            except ServiceError:
                continue
            if response.get("status") not in LIVE:
                self._count(response)
                return
        self._count_whole()


def size_of(item: Json) -> int:
    """Return how many tokens an item takes at most: one for each byte of its text.

    What a picture or a file takes is not known before; it is taken for 2,000.
    """
    content = item.get("content")
    size = _ITEM_TOKENS
    for part in content if isinstance(content, list) else [item]:
        if part.get("type") in _FILE_PARTS:
            size += _FILE_TOKENS
        for name in _TEXTS:
            if text := part.get(name):
                size += len(str(text).encode())
    return size
