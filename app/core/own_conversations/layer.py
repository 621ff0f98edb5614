"""An upstream with conversations, made of one without and the store."""

import re
from collections.abc import Mapping, Sequence
from typing import Unpack

import orjson
import structlog

from app.core.background import BackgroundTasks
from app.core.own_conversations.background_runs import BackgroundRuns
from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.conversation_table import ConversationTable, Page
from app.core.own_conversations.turn_records import StoredResponse
from app.core.own_conversations.turns import Turns
from app.core.upstream.errors import NO_ROUTE, UpstreamError, UpstreamMissingError, UpstreamRefusedError
from app.core.upstream.port import CallOptions, FileForm, Query, Upstream, UpstreamStream
from app.core.upstream.retries import parsed
from app.translate.events import Json
from app.translate.own_turns import kept_input
from app.translate.upstream_types import checked_conversation, checked_response
from app.utils.ids import is_own

_log = structlog.get_logger(__name__)
_CONVERSATION = re.compile(r"/conversations/([^/?]+)(/items(?:/([^/?]+))?)?\Z")
_RESPONSE = re.compile(r"/responses/([^/?]+)(/cancel)?\Z")


class OwnConversations:
    """Implements `Upstream`: serves `/conversations` and the responses on them, and passes the rest on.

    Until it is known who keeps conversations, the upstream's answers to the requests themselves decide.
    """

    def __init__(
        self,
        upstream: Upstream,
        choice: ConversationChoice,
        conversations: ConversationTable,
        turns: Turns,
        runs: BackgroundRuns,
        background: BackgroundTasks,
    ) -> None:
        self._upstream = upstream
        self._choice = choice
        self._conversations = conversations
        self._turns = turns
        self._runs = runs
        self._background = background

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> bytes:
        """Send a request, or answer it from the store; see `Upstream.request`."""
        body: Json = options.get("body") or {}
        if path == "/responses" and is_own(_conversation_in(body)):
            if self._runs_here(body):
                return await self._runs.start(body, options)
            return await self._turns.complete(body, options)
        if path == "/conversations" and method == "POST" and self._choice.is_own is not False:
            return await self._create_conversation(body, options)
        if (found := _CONVERSATION.match(path)) and is_own(found[1]):
            return orjson.dumps(await self._conversation(method, found, body, options.get("query") or {}))
        if (found := _RESPONSE.match(path)) and await self._choice.decide(self._upstream):
            return await self._response(method, found, options)
        return await self._upstream.request(method, path, **options)

    async def stream(self, method: str, path: str, **options: Unpack[CallOptions]) -> UpstreamStream:
        """Open a stream; see `Upstream.stream`."""
        body: Json = options.get("body") or {}
        if path == "/responses" and is_own(_conversation_in(body)):
            worker = self._runs if self._runs_here(body) else self._turns
            return await worker.open(body, options)
        if (found := _RESPONSE.match(path)) and await self._choice.decide(self._upstream):
            return await self._follow(found[1], options)
        return await self._upstream.stream(method, path, **options)

    async def upload(self, path: str, **form: Unpack[FileForm]) -> bytes:
        """Pass a file on; see `Upstream.upload`."""
        return await self._upstream.upload(path, **form)

    async def aclose(self) -> None:
        """Close the upstream."""
        await self._upstream.aclose()

    def _runs_here(self, body: Json) -> bool:
        """Return whether a response goes on without its client, and the upstream cannot do that."""
        return bool(body.get("background")) and not self._choice.stores_responses

    async def _create_conversation(self, body: Json, options: CallOptions) -> bytes:
        if self._choice.is_own is None:
            try:
                made = await self._upstream.request("POST", "/conversations", **options)
            except UpstreamError as exc:
                if exc.upstream_status not in NO_ROUTE:
                    raise
                await self._choice.learn(is_own=True)
            else:
                # Some servers answer 200 to everything.
                parsed(made, checked_conversation)
                await self._choice.learn(is_own=False)
                return made
        made_here = await self._conversations.create(
            body.get("metadata") or {}, kept_input(body.get("items"))
        )
        return orjson.dumps(made_here)

    async def _conversation(self, method: str, found: "re.Match[str]", body: Json, query: Query) -> Json:
        conversation_id, items, item_id = found[1], found[2], found[3]
        table = self._conversations
        match method, bool(items), item_id:
            case "GET", False, _:
                return await table.get(conversation_id)
            case "POST", False, _:
                return await table.set_metadata(conversation_id, body.get("metadata") or {})
            case "DELETE", False, _:
                forgotten = await table.delete(conversation_id)
                self._background.spawn(self._delete_upstream(forgotten))
                return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}
            case "POST", True, None:
                added = kept_input(body.get("items"))
                # A run that has ended upstream unseen still holds the conversation.
                await self._turns.settle_all(conversation_id)
                await table.append(conversation_id, added)
                return _listed(added, has_more=False)
            case "GET", True, None:
                await self._turns.settle_all(conversation_id)
                rows, has_more = await table.page(conversation_id, _page(query))
                return _listed(rows, has_more=has_more)
            case "GET", True, str():
                return await table.get_item(conversation_id, item_id)
            case "DELETE", True, str():
                await table.delete_item(conversation_id, item_id)
                return await table.get(conversation_id)
        raise UpstreamRefusedError("Conversations have no such method.")

    async def _delete_upstream(self, response_ids: Sequence[str]) -> None:
        """Delete what the upstream stores of a deleted conversation, as far as it can."""
        for response_id in response_ids:
            try:
                await self._upstream.request("DELETE", f"/responses/{response_id}")
            except UpstreamMissingError:
                continue
            except UpstreamError as exc:
                _log.warning("responses_not_deleted", code=exc.code)
                return

    async def _response(self, method: str, found: "re.Match[str]", options: CallOptions) -> bytes:
        response = await self._turns.table.known_response(found[1])
        if found[2] is None and method == "GET":
            return orjson.dumps(await self._state(response, options))
        if found[2] is not None and method == "POST":
            return orjson.dumps(await self._cancelled(response, options))
        return await self._upstream.request(method, found[0], **options)

    async def _state(self, response: StoredResponse, options: CallOptions) -> Json:
        if not response.is_stored:
            return response.body
        if response.is_live:
            return await self._turns.settle(response)
        state = parsed(
            await self._upstream.request("GET", f"/responses/{response.id}", **options), checked_response
        )
        return state | {"conversation": {"id": response.conversation_id}}

    async def _cancelled(self, response: StoredResponse, options: CallOptions) -> Json:
        if not response.is_stored:
            if response.is_live and not response.body.get("background"):
                raise UpstreamRefusedError("Only the replica that streams a foreground response can stop it.")
            return (await self._runs.cancel(response)).body
        path = f"/responses/{response.id}/cancel"
        state = parsed(await self._upstream.request("POST", path, **options), checked_response)
        if response.is_live:
            return await self._turns.settle(response)
        return state | {"conversation": {"id": response.conversation_id}}

    async def _follow(self, response_id: str, options: CallOptions) -> UpstreamStream:
        response = await self._turns.table.known_response(response_id)
        if not response.is_stored:
            raise UpstreamRefusedError("This response cannot be followed; read it instead.", param="stream")
        stream = await self._upstream.stream("GET", f"/responses/{response_id}", **options)
        return self._turns.following(response, stream)


def _conversation_in(body: Mapping[str, object]) -> str:
    found = body.get("conversation")
    return found if isinstance(found, str) else ""


def _page(query: Query) -> Page:
    after = query.get("after")
    return Page(
        int(str(query.get("limit", 20))), query.get("order", "desc") != "asc", str(after) if after else None
    )


def _listed(items: list[Json], *, has_more: bool) -> Json:
    ends = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": ends[0], "last_id": ends[1], "has_more": has_more}
