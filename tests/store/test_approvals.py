"""Replicas on one store, and without Redis: an approved call is made once."""

import pytest

from tests.api.conftest import before, counted
from tests.api.test_hostile_tools import approved_at_both

__all__ = ["before", "counted"]


@pytest.mark.needs_postgres
async def test_two_replicas_make_an_approved_call_once(before, counted, postgres_url):
    await approved_at_both(before, store_url=postgres_url)
    assert counted() == 1
