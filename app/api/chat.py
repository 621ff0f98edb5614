"""The chat surface: one call for a turn, in the protocol that the request speaks."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.dependencies import ScopeDep
from app.api.description import AG_UI_STREAM, CHAT_STREAM, event_stream
from app.api.file_links import cited, cited_end, file_url
from app.api.lean_route import LeanRoute
from app.api.responses import errors
from app.api.run_responses import opened, run_once, watched
from app.api.turns import Turn, TurnDep
from app.core.config import OnDisconnect, Settings
from app.core.errors import BadRequestError, ServiceError
from app.core.upstream.errors import UpstreamError
from app.models.chat import AgUiRequest, ChatAnswer, ChatRequest
from app.translate.attachments import Attached
from app.translate.chat_input import continued_message_id
from app.translate.events import Json, RunEnded, StreamFailed
from app.translate.protocols.ag_ui import AgUiEncoder
from app.translate.protocols.ai_sdk import AiSdkEncoder
from app.translate.protocols.chat_sse import ChatEncoder, chat_answer
from app.translate.protocols.encoder import Encoder, run_error
from app.translate.protocols.plain_text import TextEncoder

router = APIRouter(tags=["chat"], route_class=LeanRoute)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream: true` or `messages` an event stream, "
        "or with `Accept: text/plain` bare text.",
        "content": event_stream(CHAT_STREAM) | {"text/plain": {"schema": {"type": "string"}}},
    }
}
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {"description": "AG-UI events.", "content": event_stream(AG_UI_STREAM)}
}


@router.post(
    "/chat",
    summary="Say something",
    response_model=ChatAnswer,
    responses=_ANSWERS | errors(404, 409, 429, 502, 503, 504),
)
async def chat(body: ChatRequest, turn: TurnDep) -> Response:
    return await answered(turn, body, [])


async def answered(turn: Turn, body: ChatRequest, files: Sequence[Attached]) -> Response:
    """Carry a chat turn out, with files that came along, and answer in the protocol of the request."""
    on_disconnect = turn.once.on_disconnect(body.on_disconnect, turn.settings.on_disconnect_chat)
    new_encoder = _protocol(turn.request, body, turn.settings)
    if new_encoder is None:
        return await turn.once.answer(lambda: _whole_answer(turn, body, files, on_disconnect=on_disconnect))
    encoder = cited(new_encoder(), turn.settings)
    opening = turn.client.chat.open(turn.scope, body, files, on_disconnect=on_disconnect)
    return await run_once(turn, opening, encoder, on_disconnect=on_disconnect)


@router.get(
    "/chat/{chat_id}/stream",
    summary="Nothing to resume: AI SDK clients ask this when a page loads",
    status_code=204,
    response_class=Response,
    responses=errors(429),
)
async def resume_chat(chat_id: str, _scope: ScopeDep) -> Response:
    return Response(status_code=204)


@router.post(
    "/ag-ui",
    summary="A chat turn for AG-UI clients",
    response_class=Response,
    responses=_STREAMS | errors(404, 409, 429, 502, 503, 504),
)
async def ag_ui(body: AgUiRequest, turn: TurnDep) -> Response:
    thread_id = (body.forwardedProps or {}).get("thread_id")
    if thread_id is not None and not isinstance(thread_id, str):
        raise BadRequestError(
            "'forwardedProps.thread_id' must be a string.", param="forwardedProps.thread_id"
        )
    chat = turn.client.chat
    before, items = chat.history(body.messages, thread_id)
    on_disconnect = turn.once.on_disconnect(None, turn.settings.on_disconnect_chat)
    opening = chat.open_turn(turn.scope, thread_id, before, items, on_disconnect=on_disconnect)
    encoder = cited(AgUiEncoder(body.threadId, body.runId), turn.settings)
    return await run_once(turn, opening, encoder, on_disconnect=on_disconnect)


def _protocol(request: Request, body: ChatRequest, settings: Settings) -> Callable[[], Encoder] | None:
    """Choose the protocol, None for JSON: by the body's shape, as AI SDK and curl send the same `Accept`."""
    if body.stream is False:
        return None
    if "text/plain" in request.headers.get("accept", ""):
        return TextEncoder
    if body.messages is not None:
        return lambda: AiSdkEncoder(continued_message_id(body.messages), file_url(settings))
    return ChatEncoder if body.stream else None


async def _whole_answer(
    turn: Turn, body: ChatRequest, files: Sequence[Attached], *, on_disconnect: OnDisconnect
) -> Json:
    """Return the answer as JSON, with a place taken for it."""
    answering = turn.client.chat.answer(turn.scope, body, files, on_disconnect=on_disconnect)
    watches = watched(turn, on_disconnect)
    try:
        ended = await opened(turn.request, turn.registry, answering, watches=watches)
    finally:
        turn.registry.leave(turn.request.scope)
    return _answer_of(ended, turn.settings)


def _answer_of(ended: RunEnded | StreamFailed, settings: Settings) -> Json:
    """Return the JSON answer; a run that failed or expired is an error with a status."""
    if isinstance(ended, RunEnded) and ended.run["status"] not in {"failed", "expired"}:
        return chat_answer(cited_end(ended, settings))
    error = run_error(ended.run) if isinstance(ended, RunEnded) else ended.error
    raise _failure(error)


def _failure(error: Json) -> ServiceError:
    return UpstreamError(error["message"], code=error["code"], headers={"x-should-retry": "false"})
