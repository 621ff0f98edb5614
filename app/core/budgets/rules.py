"""The limits of a day: who counts for which account, when the day ends, and what tokens cost."""

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from app.core.caller import Caller
from app.core.config import Settings
from app.core.observability.run_metrics import Price, price_of
from app.translate.events import Json
from app.utils.zones import zone_of

NANOS = 1_000_000_000
"""Money is counted in billionths, as whole numbers add up exactly in every store."""

AccountKind = Literal["session", "total", "user"]
_NAME_CHARS = 32
_MOST_REMEMBERED = 10_000


class Amount(NamedTuple):
    """Tokens, and money in billionths of the currency of PRICES_FILE."""

    tokens: int = 0
    nanos: int = 0

    def plus(self, other: "Amount") -> "Amount":
        """Return the sum."""
        return Amount(self.tokens + other.tokens, self.nanos + other.nanos)


NOTHING = Amount()


class Account(NamedTuple):
    """One account of a day, and the most that it may spend; None is no limit."""

    kind: AccountKind
    name: str
    tokens: int | None
    nanos: int | None

    def has_room(self, used: Amount) -> bool:
        """Return whether this much is within the limits."""
        return used.tokens <= _limit(self.tokens) and used.nanos <= _limit(self.nanos)

    def share(self, used: Amount) -> float:
        """Return the used share of the limit that is closest, 1.0 for all of it."""
        return max(used.tokens / _limit(self.tokens), used.nanos / _limit(self.nanos))


class Day(NamedTuple):
    """A day of the budgets: its name, such as 2026-11-30, and its end in unix seconds."""

    name: str
    ends_at: int


@dataclass(eq=False)
class BudgetRules:
    """What the settings say of budgets; `prices` are by model."""

    user_tokens: int | None
    total_tokens: int | None
    user_nanos: int | None
    total_nanos: int | None
    zone: tzinfo
    prices: Mapping[str, Price]
    _accounts: dict[tuple[str, int | None], list[Account]] = field(default_factory=dict, init=False)
    _day: Day = field(default_factory=lambda: Day("", 0), init=False)

    @classmethod
    def of(cls, settings: Settings, prices: Mapping[str, Price]) -> "BudgetRules":
        """Return the rules that the settings make."""
        return cls(
            settings.budget_user_tokens_day,
            settings.budget_total_tokens_day,
            _nanos(settings.budget_user_cost_day),
            _nanos(settings.budget_total_cost_day),
            zone_of(settings.budget_timezone),
            prices,
        )

    @property
    def is_on(self) -> bool:
        """Whether there is any budget but those of sessions."""
        limits = (self.user_tokens, self.total_tokens, self.user_nanos, self.total_nanos)
        return any(limit is not None for limit in limits)

    def accounts(self, caller: Caller) -> list[Account]:
        """Return the accounts that a caller's turns count for, in the order of their names."""
        owner = caller.owner or caller.counted_as or ""
        known = self._accounts.get((owner, caller.budget_tokens))
        if known is None:
            if len(self._accounts) >= _MOST_REMEMBERED:
                self._accounts.clear()
            known = self._accounts[owner, caller.budget_tokens] = self._accounts_of(owner, caller)
        return known

    def _accounts_of(self, owner: str, caller: Caller) -> list[Account]:
        who = hashlib.sha256(owner.encode()).hexdigest()[:_NAME_CHARS]
        found = []
        if caller.budget_tokens is not None:
            found.append(Account("session", f"session:{who}", caller.budget_tokens, None))
        if self.total_tokens is not None or self.total_nanos is not None:
            found.append(Account("total", "total", self.total_tokens, self.total_nanos))
        if self.user_tokens is not None or self.user_nanos is not None:
            found.append(Account("user", f"user:{who}", self.user_tokens, self.user_nanos))
        return found

    def today(self) -> Day:
        """Return the day that it is in BUDGET_TIMEZONE."""
        if time.time() < self._day.ends_at:
            return self._day
        now = datetime.fromtimestamp(time.time(), self.zone)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), self.zone)
        self._day = Day(now.date().isoformat(), math.ceil(midnight.timestamp()))
        return self._day

    def billed(self, response: Json, model: str) -> Amount | None:
        """Return what the upstream says that a response took; None where it says nothing."""
        if not (usage := response.get("usage")):
            return None
        details = usage.get("input_tokens_details") or {}
        read, written = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
        if not self.prices:
            return Amount(read + written)
        price = self.price(str(response.get("model") or model), model)
        cached, stored = (int(details.get(f"{name}_tokens") or 0) for name in ("cached", "cache_write"))
        return Amount(read + written, _nanos(price.cost(read, cached, written, stored)) or 0)

    def estimated(self, model: str, read: int, written: int) -> Amount:
        """Return what a turn takes at most: none of its input is cached, and all of it is written there."""
        if not self.prices:
            return Amount(read + written)
        return Amount(read + written, _nanos(self.price(model).cost(read, 0, written, read)) or 0)

    def nanos_per_token(self, model: str) -> float:
        """Return what a token of input costs at most."""
        if not self.prices:
            return 0
        price = self.price(model)
        return max(price.input_per_million, price.cache_write_per_million or 0) * 1_000

    def price(self, *models: str) -> Price:
        """Return the price of the first model that has one, else the dearest, so that nothing is free."""
        for model in models:
            if (price := price_of(self.prices, model)) is not None:
                return price
        dearest = max(self.prices.values(), key=lambda price: price.output_per_million, default=None)
        return dearest or Price(input_per_million=0, output_per_million=0)


def _nanos(money: float | None) -> int | None:
    return None if money is None else math.ceil(round(money * NANOS, 3))


def _limit(limit: int | None) -> float:
    return math.inf if limit is None else max(limit, 1e-9)
