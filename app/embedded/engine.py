"""Creates responses, holds those in the making, and lets one writer at a time into a conversation."""

import asyncio
from collections.abc import Collection, Sequence

from app.embedded.errors import ApiError, conversation_locked
from app.embedded.generation import Generation, Pace
from app.embedded.include import shown_body
from app.embedded.items import (
    check_calls_answered,
    check_outputs_have_calls,
    check_reasoning_followed,
    input_items,
)
from app.embedded.kinds import check_window, tells_little
from app.embedded.objects import new_response
from app.embedded.prompt_cache import PromptCache
from app.embedded.reasoning import check_reasoning_readable
from app.embedded.responders.base import Resources, Responder, Turn
from app.embedded.settings import EmbeddedSettings
from app.embedded.store.conversations import ConversationStore
from app.embedded.store.responses import ResponseStore, StoredResponse
from app.embedded.tools import check_tools
from app.embedded.wire import Json, ResponseCreate


class Engine:
    """The life of responses from creation to storage."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        responder: Responder,
        conversations: ConversationStore,
        responses: ResponseStore,
        resources: Resources,
    ) -> None:
        self.responder = responder
        self.created = 0
        self._settings = settings
        self._pace = Pace(settings.first_token_ms / 1000, settings.token_ms / 1000)
        self._conversations = conversations
        self._responses = responses
        self._resources = resources
        self._live: dict[str, Generation] = {}
        self._writers: dict[str, str] = {}
        self._cache = PromptCache()

    @property
    def active(self) -> int:
        """Responses in the making."""
        return len(self._live)

    def require_unlocked(self, conversation_id: str) -> None:
        """Refuse a second writer.

        Raises ApiError 400 `conversation_locked`.
        """
        if conversation_id in self._writers:
            raise conversation_locked()

    async def create(self, request: ResponseCreate) -> Generation:
        """Check a request, record the response and start making it.

        Raises ApiError for what OpenAI refuses.
        """
        _check(request)
        body = new_response(request, self.responder.model, is_timed=self._settings.kind != "nothing")
        conversation_id = request.conversation_id
        if conversation_id is not None:
            self.require_unlocked(conversation_id)
            self._writers[conversation_id] = body["id"]
        try:
            generation = await self._prepare(request, body)
        except BaseException:
            self._release(conversation_id)
            raise
        self.created += 1
        self._live[generation.id] = generation
        generation.start(self._store_end)
        return generation

    async def _prepare(self, request: ResponseCreate, body: Json) -> Generation:
        fresh = input_items(request.input)
        history = await self._history(request)
        check_outputs_have_calls(history, fresh)
        check_calls_answered(history, fresh)
        check_reasoning_followed([*history, *fresh])
        check_reasoning_readable(fresh, str(request.model), self._settings.seed)
        check_window([*history, *fresh], request, self._settings)
        if not history and not fresh:
            raise ApiError(
                "One of 'input' or 'conversation' must hold something to answer.",
                param="input",
                code="missing_required_parameter",
            )
        turn = self._turn(request, [*history, *fresh], fresh)
        await self._require_files(turn)
        streamed = bool(request.stream and request.background)
        if body["store"]:
            await self._responses.insert(body, fresh, streamed=streamed)
        return Generation(
            body,
            turn,
            self.responder,
            self._pace,
            streamed=streamed,
            include=request.include or (),
            is_sparse=tells_little(self._settings),
            cached_tokens=self._cache.cached_tokens(turn, request.prompt_cache_key),
        )

    async def _history(self, request: ResponseCreate) -> list[Json]:
        if request.conversation_id is not None:
            return await self._conversations.history(request.conversation_id)
        if request.previous_response_id is not None:
            return await self._responses.history(request.previous_response_id)
        return []

    def _turn(self, request: ResponseCreate, items: list[Json], fresh: list[Json]) -> Turn:
        return Turn(
            model=str(request.model),
            instructions=request.instructions,
            items=items,
            fresh=fresh,
            tools=request.tools or [],
            tool_choice=request.tool_choice or "auto",
            max_output_tokens=request.max_output_tokens,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            resources=self._resources,
        )

    async def _require_files(self, turn: Turn) -> None:
        named = turn.fresh_file_ids()
        if not named:
            return
        known = await self._resources.filenames(named)
        for file_id in named:
            if file_id not in known:
                raise ApiError(f"File '{file_id}' was not found.", param="input", code="file_not_found")

    async def _store_end(self, generation: Generation, body: Json, frames: Sequence[bytes]) -> None:
        whole = body["status"] in ("completed", "incomplete")
        items = [*generation.fresh, *(body["output"] if whole else [])]
        log = frames if generation.streamed else None
        try:
            await self._responses.finish(body, log, items, stored=body["store"])
        finally:
            self._live.pop(generation.id, None)
            self._release(body["conversation"] and body["conversation"]["id"])

    def _release(self, conversation_id: str | None) -> None:
        if conversation_id is not None:
            self._writers.pop(conversation_id, None)

    def live(self, response_id: str) -> Generation | None:
        """The response if it is still in the making."""
        return self._live.get(response_id)

    async def read(self, response_id: str, include: Collection[str] = ()) -> Json:
        """The response object, live or stored, with what `include` names.

        Raises ApiError 404.
        """
        generation = self._live.get(response_id)
        if generation is not None and generation.body["store"]:
            return generation.body
        return shown_body((await self._responses.get(response_id)).body, include)

    async def stored(self, response_id: str) -> StoredResponse:
        """A response that has ended.

        Raises ApiError 404.
        """
        return await self._responses.get(response_id)

    async def cancel(self, response_id: str) -> Json:
        """Cancel a background response; the response object.

        Raises ApiError 400 for one that was not in the background or ended otherwise, 404.
        """
        generation = self._live.get(response_id)
        body = generation.body if generation else (await self._responses.get(response_id)).body
        if not body["background"]:
            raise ApiError("Cannot cancel a synchronous response.")
        if generation is not None:
            await generation.cancel()
            body = generation.body
        if body["status"] != "cancelled":
            raise ApiError(f"Cannot cancel a {body['status']} response.")
        return body

    async def delete(self, response_id: str) -> None:
        """Stop and forget a response.

        Raises ApiError 404.
        """
        generation = self._live.get(response_id)
        if generation is not None:
            await generation.cancel()
        await self._responses.delete(response_id)

    async def delete_conversation(self, conversation_id: str) -> None:
        """Stop what is being answered in a conversation and remove all of it.

        Raises ApiError 404.
        """
        generation = self._live.get(self._writers.get(conversation_id, ""))
        if generation is not None:
            await generation.cancel()
        await self._conversations.delete(conversation_id)

    async def aclose(self) -> None:
        """End every response as a restart would."""
        await asyncio.gather(
            *(generation.cancel(restarting=True) for generation in list(self._live.values()))
        )


def _check(request: ResponseCreate) -> None:
    if request.model is None:
        raise ApiError(
            "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
        )
    if request.conversation_id is not None and request.previous_response_id is not None:
        raise ApiError(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if request.background and request.store is False:
        raise ApiError("Background responses require 'store' to be true.", param="store")
    check_tools(request.tools or [])
