"""Puts the conversations of the store before an upstream."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from app.core.background import BackgroundTasks, stop_task
from app.core.config import Settings
from app.core.directory.recording import RecordedUpstream
from app.core.directory.thread_directory import ThreadDirectory
from app.core.directory.thread_table import ThreadTable
from app.core.errors import ServiceError
from app.core.own_conversations.background_runs import BackgroundRuns
from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.conversation_table import ConversationTable
from app.core.own_conversations.layer import OwnConversations
from app.core.own_conversations.leases import HeldLeases
from app.core.own_conversations.turn_requests import TurnRequests
from app.core.own_conversations.turn_table import TurnTable
from app.core.own_conversations.turns import Turns
from app.core.store.database import Database
from app.core.store.leases import StoredLeases
from app.core.upstream.port import Upstream
from app.core.upstream.target import UpstreamTarget

_DECIDE_SECONDS = 2.0
"""How long a start waits for the upstream to tell whether it keeps conversations."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The upstream with conversations, who keeps them, the store, and the directory of threads."""

    upstream: Upstream
    choice: ConversationChoice
    database: Database
    directory: ThreadDirectory | None

    @property
    def leases(self) -> StoredLeases:
        """Leases by name in the store."""
        return StoredLeases(self.database)


@asynccontextmanager
async def opened_conversations(
    settings: Settings,
    target: UpstreamTarget,
    upstream: Upstream,
    background: BackgroundTasks,
    on_dropped: Callable[[int], None],
) -> AsyncIterator[Kept]:
    """Yield the upstream with conversations; raises `ValueError` if the store cannot be used."""
    database = Database(settings.store_location)
    choice = ConversationChoice(settings.conversations, target, database)
    turns_table = TurnTable(database, secrets.token_hex(8))
    leases = HeldLeases(turns_table, background, lambda response_id: runs.stop(response_id))  # noqa: PLW0108 - `runs` comes later
    requests = TurnRequests(choice, settings.assistant_context_tokens, on_dropped)
    turns = Turns(upstream, turns_table, leases, choice, requests, settings.run_expires_seconds)
    runs = BackgroundRuns(turns, background)
    layer = OwnConversations(upstream, choice, ConversationTable(database), turns, runs, background)
    try:
        await choice.recall()
        # Only then: a file that nothing is kept in must not be locked, as other replicas may start beside it.
        if settings.store_url is not None or choice.is_own:
            await database.open()
        await _decide(choice, upstream)
        if choice.is_own is False:
            async with _listed(settings, upstream, choice, database, background) as kept:
                yield kept
            return
        renewing = asyncio.create_task(leases.renew())
        try:
            async with _listed(settings, layer, choice, database, background) as kept:
                yield kept
        finally:
            await stop_task(renewing)
    finally:
        await database.aclose()


@asynccontextmanager
async def _listed(
    settings: Settings,
    upstream: Upstream,
    choice: ConversationChoice,
    database: Database,
    background: BackgroundTasks,
) -> AsyncIterator[Kept]:
    """Put the directory of threads before the upstream, unless it is known that nothing will be stored."""
    has_store = settings.store_url is not None
    if not has_store and choice.is_own is False:
        yield Kept(upstream, choice, database, None)
        return
    table = ThreadTable(database)
    directory = ThreadDirectory(table, background, lambda: has_store or bool(choice.is_own))
    try:
        yield Kept(RecordedUpstream(upstream, directory), choice, database, directory)
    finally:
        await directory.drain()


async def _decide(choice: ConversationChoice, upstream: Upstream) -> None:
    """Ask the upstream whether it keeps conversations, if that is not known, without waiting long."""
    with suppress(ServiceError, TimeoutError):
        async with asyncio.timeout(_DECIDE_SECONDS):
            await choice.decide(upstream)
