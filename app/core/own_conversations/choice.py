"""Who keeps the conversations: the upstream, or the service in its store."""

import asyncio
from typing import Any

import structlog
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.config import ConversationsSetting
from app.core.store.database import Database
from app.core.store.tables import UPSTREAMS
from app.core.upstream.errors import NO_ROUTE, UpstreamError, UpstreamMalformedError, UpstreamMissingError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.core.upstream.target import UpstreamTarget
from app.translate.upstream_types import checked_conversation, checked_response

_log = structlog.get_logger(__name__)

_PROBE_SECONDS = 5.0


class ConversationChoice:
    """What is known of the upstream: by the setting, by its host, by the store, or by its own answers.

    Args:
        setting: `CONVERSATIONS`.
        target: the upstream.
        database: keeps what the upstream answered, if it is open.

    """

    def __init__(self, setting: ConversationsSetting, target: UpstreamTarget, database: Database) -> None:
        known = target.has_conversations
        self.is_own = setting == "own" if setting != "auto" else None if known is None else not known
        """Whether the service keeps the conversations; None while that is not known."""
        self.stores_responses = target.stores_responses
        """Whether the upstream can read a response back that has ended; None while that is not known."""
        self.url = target.base_url
        self._database = database
        self._asking = asyncio.Lock()

    def describe(self) -> str:
        """Return `upstream`, `own`, or `undecided`."""
        return "undecided" if self.is_own is None else "own" if self.is_own else "upstream"

    async def recall(self) -> None:
        """Read what the upstream answered earlier, also where the store is not open yet."""
        query = select(UPSTREAMS).where(UPSTREAMS.c.url == self.url)

        async def work(connection: AsyncConnection) -> Row[Any] | None:
            return (await connection.execute(query)).first()

        row = await (self._database.run if self._database.is_open else self._database.peek)(work)
        if row is None:
            return
        if self.is_own is None and row.has_conversations is not None:
            self.is_own = not row.has_conversations
        if self.stores_responses is None:
            self.stores_responses = row.stores_responses

    async def decide(self, upstream: Upstream) -> bool:
        """Return whether the service keeps the conversations; ask the upstream if that is not known.

        Raises the `UpstreamError` of an answer that does not tell.
        """
        if self.is_own is not None:
            return self.is_own
        async with self._asking:
            if self.is_own is None:
                await self._ask(upstream)
        return bool(self.is_own)

    async def learn(self, *, is_own: bool) -> None:
        """Remember who keeps the conversations."""
        if self.is_own is None:
            self.is_own = is_own
            _log.info("conversations_chosen", kept_by=self.describe())
            await self._keep(has_conversations=not is_own)

    async def learn_stores(self, upstream: Upstream, response_id: str) -> None:
        """Find out whether the upstream stores responses, by asking for one that has ended."""
        if self.stores_responses is not None:
            return
        try:
            found = await upstream.request("GET", f"/responses/{response_id}", timeout=_PROBE_SECONDS)
            parsed(found, checked_response)
        except UpstreamError as exc:
            # Some servers answer 200 to everything.
            is_missing = isinstance(exc, UpstreamMissingError | UpstreamMalformedError)
            if exc.upstream_status not in NO_ROUTE and not is_missing:
                return
            self.stores_responses = False
        else:
            self.stores_responses = True
        _log.info("responses_stored_upstream", stored=self.stores_responses)
        await self._keep(stores_responses=self.stores_responses)

    async def _ask(self, upstream: Upstream) -> None:
        try:
            found = await upstream.request("POST", "/conversations", body={}, timeout=_PROBE_SECONDS)
        except UpstreamError as exc:
            if exc.upstream_status not in NO_ROUTE:
                raise
            await self.learn(is_own=True)
            return
        made = parsed(found, checked_conversation)
        await self.learn(is_own=False)
        try:
            await upstream.request("DELETE", f"/conversations/{made['id']}", timeout=_PROBE_SECONDS)
        except UpstreamError as exc:
            _log.warning("probe_not_deleted", code=exc.code)

    async def _keep(self, **facts: bool) -> None:
        if not (self._database.is_open or self.is_own):
            return
        # First turns that end together find it out together.
        new = self._database.insert(UPSTREAMS).values(url=self.url, **facts)
        known = new.on_conflict_do_update(index_elements=["url"], set_=facts)
        await self._database.run(lambda connection: connection.execute(known))
