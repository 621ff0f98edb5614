"""Every ledger does the same: reserves in all accounts or none, settles once, lets reservations expire."""

import asyncio
from itertools import count

from app.core.budgets.ledger import Wish
from app.core.budgets.rules import Account, Amount
from tests.store.budgets.conftest import DAY
from tests.support import until

TOTAL = Account("total", "total", 1_000, 1_000_000)
ANN, BEN = (Account("user", f"user:{name}", 600, None) for name in ("ann", "ben"))
_numbers = count()


def wish(tokens, *accounts, seconds=60.0, history=0, thread="conv_1"):
    numbered = f"turn{next(_numbers)}"
    return Wish(numbered, DAY, seconds, accounts, Amount(tokens, tokens * 10), thread, history, 10)


async def used(ledger, account):
    """What is spent and reserved of an account, as a turn of nothing is told."""
    return (await ledger.reserve(wish(0, account))).used[0]


async def test_a_turn_is_reserved_in_all_accounts_or_in_none(ledgers):
    one, two, three = ledgers
    assert (await one.reserve(wish(600, TOTAL, ANN))).used == [(600, 6_000), (600, 6_000)]
    refused = await two.reserve(wish(1, TOTAL, ANN))
    assert refused.over == ANN
    assert refused.is_held
    assert await used(three, TOTAL) == (600, 6_000)
    assert (await three.reserve(wish(401, TOTAL, BEN))).over == TOTAL
    assert await used(one, BEN) == (0, 0)
    assert (await two.reserve(wish(400, TOTAL, BEN))).over is None


async def test_what_was_billed_replaces_the_estimate_once(ledgers):
    turn = wish(600, TOTAL, ANN)
    await ledgers[0].reserve(turn)
    for ledger in ledgers:
        await ledger.settle(turn, Amount(50, 7), 50)
    assert await used(ledgers[1], TOTAL) == (50, 7)
    assert await used(ledgers[2], ANN) == (50, 7)


async def test_without_a_bill_the_whole_estimate_counts_with_the_history(ledgers):
    first = wish(10, TOTAL)
    await ledgers[0].reserve(first)
    await ledgers[0].settle(first, Amount(100, 0), 100)
    second = wish(10, TOTAL, history=None)
    assert (await ledgers[1].reserve(second)).used == [(210, 1_100)]
    await ledgers[1].settle(second, None, None)
    assert await used(ledgers[2], TOTAL) == (210, 1_100)
    assert (await ledgers[2].reserve(wish(10, TOTAL, history=None))).needs_history


async def test_a_changed_thread_is_forgotten(ledgers):
    turn = wish(10, TOTAL)
    await ledgers[0].reserve(turn)
    await ledgers[0].settle(turn, Amount(10, 0), 10)
    await ledgers[1].forget("conv_1")
    assert (await ledgers[2].reserve(wish(10, TOTAL, history=None))).needs_history
    assert await used(ledgers[0], TOTAL) == (10, 0)


async def test_a_reservation_expires_and_a_late_end_counts(ledgers):
    turn = wish(1_000, TOTAL, seconds=0.05)
    await ledgers[0].reserve(turn)

    async def has_room():
        return (await ledgers[1].reserve(wish(900, TOTAL, seconds=0.01))).over is None

    await until(has_room)
    await ledgers[2].settle(turn, Amount(70, 1), 70)

    async def is_free():
        return (await ledgers[1].reserve(wish(930, TOTAL, seconds=0.01))).over is None

    await until(is_free)
    assert (await ledgers[0].reserve(wish(931, TOTAL))).over == TOTAL


async def test_80_and_100_percent_are_said_once(ledgers):
    told = []
    for number in range(12):
        turn = wish(100, TOTAL)
        told.append(list((await ledgers[number % 3].reserve(turn)).reached))
        await ledgers[number % 3].settle(turn, Amount(100, 0), 100)
    assert told == [[]] * 7 + [[(TOTAL, 80)], [], [], [(TOTAL, 100)], []]


async def test_turns_under_way_are_no_end_of_the_budget(ledgers):
    turn = wish(600, TOTAL)
    await ledgers[0].reserve(turn)
    blocked = await ledgers[1].reserve(wish(500, TOTAL))
    assert (blocked.over, blocked.is_held, list(blocked.reached)) == (TOTAL, True, [])
    await ledgers[0].settle(turn, Amount(600, 0), 600)
    refused = await ledgers[1].reserve(wish(500, TOTAL))
    assert (refused.over, refused.is_held, list(refused.reached)) == (TOTAL, False, [(TOTAL, 100)])


async def test_parallel_turns_never_pass_the_limit(ledgers):
    wishes = [wish(30, TOTAL, ANN if number % 2 else BEN, thread=f"c{number}") for number in range(200)]

    async def turn(number, wanted):
        ledger = ledgers[number % 3]
        if (await ledger.reserve(wanted)).over is not None:
            return 0
        await asyncio.sleep(0)
        await ledger.settle(wanted, Amount(30, 1), 30)
        return 30

    assert 0 < sum(await asyncio.gather(*(turn(*each) for each in enumerate(wishes)))) <= 1_000
    assert (await ledgers[0].reserve(wish(1_001, TOTAL))).over == TOTAL
