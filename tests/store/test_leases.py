"""Leases by name, which replicas take from each other on one store."""

import asyncio

from app.core.store.database import Database
from app.core.store.leases import StoredLeases


async def test_one_of_two_takes_a_lease(store_url):
    database = Database(store_url)
    await database.open()
    try:
        one, two = StoredLeases(database), StoredLeases(database)
        for name in ("a", "b", "c"):
            found = await asyncio.gather(one.take(name, 15), two.take(name, 15))
            assert sorted(found) == [False, True]
            assert await two.is_held(name)
            await one.give_back(name)
            assert await two.take(name, 0)
            # It has run out at once.
            assert await one.take(name, 15)
    finally:
        await database.aclose()
