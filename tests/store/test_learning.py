"""What replicas learn of their upstream at the same time."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from app.core.own_conversations.choice import ConversationChoice
from app.core.store.database import Database
from app.core.store.tables import UPSTREAMS
from app.core.upstream.errors import UpstreamMissingError
from app.core.upstream.factory import opened_target
from tests.support import make_settings


class Forgetful:
    """An upstream without any response; asked by all replicas before it answers one."""

    def __init__(self, replicas):
        self._barrier = asyncio.Barrier(replicas)

    async def request(self, *_arguments, **_options):
        await self._barrier.wait()
        raise UpstreamMissingError(frozenset({"response"}))


@pytest.mark.needs_postgres
async def test_replicas_that_learn_the_same_at_once_keep_it(postgres_url):
    databases = [Database(postgres_url) for _ in range(5)]
    upstream: Any = Forgetful(len(databases))
    settings = make_settings(openai_base_url="http://127.0.0.1:1/v1", openai_api_key="key")
    async with opened_target(settings) as target:
        for database in databases:
            await database.open()
        choices = [ConversationChoice("own", target, database) for database in databases]
        await asyncio.gather(*(choice.learn_stores(upstream, "resp_1") for choice in choices))
    assert [choice.stores_responses for choice in choices] == [False] * len(choices)
    (row,) = await databases[0].run(lambda connection: connection.execute(select(UPSTREAMS)))
    assert row.stores_responses is False
    for database in databases:
        await database.aclose()
