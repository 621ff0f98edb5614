"""The ledger that replicas share in Redis, and what each of them may spend while Redis is away."""

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from typing import Any, Self

import structlog
from redis.asyncio import Redis

from app.core.budgets.ledger import SIZE_SECONDS, Answer, MemoryLedger, Wish
from app.core.budgets.rules import Account, Amount, BudgetRules, Day
from app.core.errors import OverloadedError
from app.core.limits.shared_redis import RedisAwayError, SharedRedis
from app.core.observability.metrics import WARN_SHARE

_log = structlog.get_logger(__name__)
_PREFIX = "soloist:budget:"
_KEPT_SECONDS = 2 * 86_400
"""How long a day's accounts are kept after its end, for turns that end late."""

_BEAT_SECONDS = 1.0
_GONE_SECONDS = 10.0
"""After so long without a sign, a replica is not counted any more."""

_MOST_SEEN = 10_000
_MOST_REFRESHED = 200
"""How many accounts each replica asks for every second."""

_SCRIPTS = {
    name: resources.files("app.core.budgets").joinpath(f"{name}.lua").read_text()
    for name in ("reserve", "settle", "beat")
}


class BudgetsAwayError(OverloadedError):
    """This replica has never reached Redis, so it does not know what is left of the budgets."""

    code = "budgets_unavailable"

    def __init__(self) -> None:
        super().__init__("It cannot be told right now what is left of the budget. Retry shortly.")
        self.headers = {"retry-after": "5"}


@dataclass(eq=False)
class RedisLedger:
    """A ledger in Redis; implements `Ledger`.

    While Redis is away, each replica spends its part of what was left when it last heard of the accounts, and
    writes it down in Redis afterwards.
    """

    redis: SharedRedis
    today: Callable[[], Day]
    _id: str = field(default_factory=lambda: secrets.token_hex(8), init=False)
    _is_used: bool = field(default=False, init=False)
    replicas: int = field(default=0, init=False)
    """How many replicas there were when Redis was last heard of."""
    _seen: OrderedDict[tuple[str, str], Amount] = field(default_factory=OrderedDict, init=False)
    """What was used of each account when it was last heard of, by day and name."""
    _alone: MemoryLedger | None = field(default=None, init=False)
    """What this replica has spent since Redis went away."""
    _alone_ids: dict[str, MemoryLedger] = field(default_factory=dict, init=False)
    _unsent: deque[tuple[Wish, Amount | None, int | None, bool]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        client = self.redis.client
        self._reserve, self._settle, self._beat = (
            client.register_script(_SCRIPTS[name]) for name in ("reserve", "settle", "beat")
        )

    @classmethod
    async def opened(cls, redis: SharedRedis, rules: BudgetRules) -> Self:
        """Return the ledger; with budgets, raises `ValueError` for a Redis that may forget them."""
        ledger = cls(redis, rules.today)
        ledger._is_used = rules.is_on
        if rules.is_on:
            await check_redis(redis)
            with suppress(RedisAwayError):
                await ledger.beat()
        return ledger

    async def reserve(self, wish: Wish) -> Answer:
        """Reserve a turn's estimate in all of its accounts or in none."""
        self._is_used = True
        limits = [
            part
            for account in wish.accounts
            for part in (account.name, _or_none(account.tokens), _or_none(account.nanos))
        ]
        arguments = [
            wish.id,
            wish.seconds,
            wish.amount.tokens,
            wish.amount.nanos,
            _or_none(wish.history),
            wish.nanos_per_token,
            wish.day.ends_at + _KEPT_SECONDS,
            WARN_SHARE,
            *limits,
        ]
        try:
            found = await self.redis.call(lambda: self._reserve(keys=_keys(wish), args=arguments))
        except RedisAwayError:
            return await self._reserve_alone(wish)
        if not self._unsent and not self._alone_ids:
            # Redis knows of all that was spent without it.
            self._alone = None
        return self._answer(wish, found)

    async def settle(self, wish: Wish, billed: Amount | None, size: int | None) -> None:
        """Replace a reservation by what was billed, once."""
        alone = self._alone_ids.pop(wish.id, None)
        if alone is not None:
            billed = alone.reserved(wish.id) if billed is None else billed
            await alone.settle(wish, billed, size)
        try:
            await self._send(wish, billed, size, is_new=alone is not None)
        except RedisAwayError:
            self._unsent.append((wish, billed, size, alone is not None))

    async def forget(self, conversation_id: str) -> None:
        """Forget the size of a thread that has changed."""
        if self._alone is not None:
            await self._alone.forget(conversation_id)
        with suppress(RedisAwayError):
            await self.redis.call(lambda: self.redis.client.delete(_size_key(conversation_id)))

    async def watch(self) -> None:
        """Say every second that this replica is there, and send what Redis has missed, until cancelled."""
        while True:
            with suppress(RedisAwayError):
                if self._is_used:
                    await self.beat()
                while self._unsent:
                    wish, billed, size, is_new = self._unsent[0]
                    await self._send(wish, billed, size, is_new=is_new)
                    self._unsent.popleft()
            await asyncio.sleep(_BEAT_SECONDS)

    async def beat(self) -> None:
        """Say that this replica is there, and count the replicas; raises `RedisAwayError`."""
        day = self.today().name
        names = ["total", *(name for seen_on, name in list(self._seen)[-_MOST_REFRESHED:] if seen_on == day)]
        keys = [f"{_PREFIX}replicas", _PREFIX + day]
        call = partial(self._beat, keys=keys, args=[self._id, _GONE_SECONDS, *names])
        self.replicas, *numbers = map(int, await self.redis.call(call))
        for at, name in enumerate(names):
            self._see(day, name, Amount(*numbers[2 * at : 2 * at + 2]))

    async def _send(self, wish: Wish, billed: Amount | None, size: int | None, *, is_new: bool) -> None:
        names = [account.name for account in wish.accounts]
        expires = wish.day.ends_at + _KEPT_SECONDS
        arguments = [
            wish.id,
            *(billed or ("", "")),
            _or_none(size),
            SIZE_SECONDS,
            expires,
            int(is_new),
            *names,
        ]
        await self.redis.call(lambda: self._settle(keys=_keys(wish), args=arguments))

    def _answer(self, wish: Wish, found: Sequence[Any]) -> Answer:
        kind, numbers = found[0].decode(), [int(each) for each in found[1:]]
        if kind == "unknown":
            return Answer(needs_history=True)
        count = len(wish.accounts) if kind == "ok" else 1
        used = [Amount(*numbers[at : at + 2]) for at in range(0, 2 * count, 2)]
        rest = numbers[2 * count :]
        if kind == "over":
            account = wish.accounts[rest[0] - 1]
            return Answer(used, account, [(account, 100)] if rest[2] else [], bool(rest[1]))
        for account, amount in zip(wish.accounts, used, strict=True):
            self._see(wish.day.name, account.name, amount)
        return Answer(used, None, [(wish.accounts[at - 1], 80) for at in rest])

    def _see(self, day: str, name: str, used: Amount) -> None:
        self._seen[day, name] = used
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    async def _reserve_alone(self, wish: Wish) -> Answer:
        """Reserve in this replica's part of what is left."""
        if not self.replicas:
            raise BudgetsAwayError
        if self._alone is None:
            self._alone = MemoryLedger()
            _log.warning("budgets_in_parts", replicas=self.replicas)
        parts = [self._part(wish.day.name, account) for account in wish.accounts]
        answer = await self._alone.reserve(replace(wish, accounts=parts))
        if not answer.over and not answer.needs_history:
            self._alone_ids[wish.id] = self._alone
        # Each replica would tell of its own part.
        return answer._replace(reached=())

    def _part(self, day: str, account: Account) -> Account:
        seen = self._seen.get((day, account.name), Amount())

        def part(limit: int | None, used: int) -> int | None:
            return None if limit is None else max(0, limit - used) // self.replicas

        return account._replace(
            tokens=part(account.tokens, seen.tokens), nanos=part(account.nanos, seen.nanos)
        )


async def unfit_for_budgets(client: Redis) -> list[str]:
    """Return what is wrong with a Redis that is to keep budgets, a sentence each; raises `RedisError`."""
    found = {**await client.info("memory"), **await client.info("persistence")}
    problems = []
    if (policy := found.get("maxmemory_policy", "noeviction")) != "noeviction":
        problems.append(
            f"Redis has maxmemory-policy {policy}, which may forget budgets: set it to noeviction."
        )
    if not int(found.get("aof_enabled", 0)):
        problems.append(
            "Redis has no append-only file, so a restart would forget budgets: set appendonly yes."
        )
    return problems


async def check_redis(redis: SharedRedis) -> None:
    """Raise `ValueError` for a Redis that may forget budgets; one that is away is not checked."""
    try:
        problems = await redis.call(lambda: unfit_for_budgets(redis.client))
    except RedisAwayError:
        _log.warning("budgets_redis_unchecked", effect="it must have noeviction and an append-only file")
        return
    if problems:
        raise ValueError("\n".join(f"RATE_LIMIT_STORAGE: {problem}" for problem in problems))


def _keys(wish: Wish) -> list[str]:
    day = f"{_PREFIX}{wish.day.name}"
    return [day, f"{day}:held", _size_key(wish.conversation_id)]


def _size_key(conversation_id: str) -> str:
    return f"{_PREFIX}size:{conversation_id}"


def _or_none(number: int | None) -> int | str:
    return "" if number is None else number
