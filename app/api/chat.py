"""Chat routes: one call for a turn, as JSON or a form, answered as JSON or in a stream protocol."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from app.api.dependencies import ScopeDep
from app.api.files import NO_BODY_LIMIT
from app.api.idempotency import KEY_HEADER, TAKES_KEY
from app.api.json_route import ApiRoute, JsonRoute
from app.api.openapi import AG_UI_STREAM, CHAT_STREAM, event_stream
from app.api.responses import errors
from app.api.run_responses import RunRequest, opened, run_once, run_request
from app.core.config import OnDisconnect, Settings
from app.core.errors import BadRequestError, ServiceError
from app.core.files.multipart_reader import FormReader
from app.core.files.service import Files, file_url
from app.core.upstream.errors import error_for, error_told
from app.models.chat import HAS_FILES, AgUiRequest, ChatAnswer, ChatRequest
from app.translate.attachments import Attached
from app.translate.chat_input import continued_message_id
from app.translate.citations import CitationStage, CitingEncoder
from app.translate.events import Json, RunEnded
from app.translate.failures import FAILED
from app.translate.protocols.ag_ui import AgUiEncoder
from app.translate.protocols.ai_sdk import AiSdkEncoder
from app.translate.protocols.chat_sse import ChatEncoder, chat_answer
from app.translate.protocols.encoder import Encoder
from app.translate.protocols.plain_text import TextEncoder

router = APIRouter(tags=["chat"], route_class=JsonRoute)
_MESSAGE = "message"
_FLAGS = {"true": True, "false": False}
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


class _FormRoute(ApiRoute):
    """A route for multipart forms only; other requests go to the next route of the path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        kind = Headers(scope=scope).get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            return Match.NONE, {}
        return super().matches(scope)


# Goes before `router`, whose route for JSON takes the path whatever the body is.
form_router = APIRouter(route_class=_FormRoute, include_in_schema=False)


@form_router.post("/chat", max_body_size=NO_BODY_LIMIT)
async def chat_with_files(request: Request) -> Response:
    """Answer a chat turn with files, as deep-chat and `curl -F` send it."""
    # The body of a form is not kept, so a repeat cannot be compared with it.
    run = await run_request(request, is_repeatable=False)
    headers, service = request.headers, run.client.files
    if KEY_HEADER in headers:
        run.scope.ignore([KEY_HEADER])
    form = FormReader(headers["content-type"], request.stream(), service.uploads.limits)
    files = await _uploaded(form, service, run.settings.max_files)
    try:
        return await _answered(run, _chat_request(form, has_files=bool(files)), files)
    except BaseException:
        # No message holds the files, so nothing else would ever delete them.
        service.forget(files)
        raise


@router.post(
    "/chat",
    summary="Say something",
    response_model=ChatAnswer,
    responses=_ANSWERS | errors(404, 409, 502, 504),
    openapi_extra=TAKES_KEY,
)
async def chat(body: ChatRequest, request: Request) -> Response:
    return await _answered(await run_request(request), body, [])


@router.get(
    "/chat/{chat_id}/stream",
    summary="Nothing to resume: AI SDK clients ask this when a page loads",
    status_code=204,
    response_class=Response,
)
async def resume_chat(chat_id: str, scope: ScopeDep) -> Response:
    return Response(status_code=204, headers=scope.headers)


@router.post(
    "/ag-ui",
    summary="A chat turn for AG-UI clients",
    response_class=Response,
    responses=_STREAMS | errors(404, 409, 502, 504),
    openapi_extra=TAKES_KEY,
)
async def ag_ui(body: AgUiRequest, request: Request) -> Response:
    run = await run_request(request)
    thread_id = (body.forwardedProps or {}).get("thread_id")
    if thread_id == "":
        thread_id = None
    if thread_id is not None and not isinstance(thread_id, str):
        raise BadRequestError(
            "'forwardedProps.thread_id' must be a string.", param="forwardedProps.thread_id"
        )
    if body.__pydantic_extra__:
        run.client.unsupported.check(body, run.scope)
    chat = run.client.chat
    before, items = chat.history(body.messages, thread_id)
    on_disconnect = run.on_disconnect(None, run.settings.on_disconnect_chat)
    start = partial(chat.open_turn, run.scope, thread_id, before, items, on_disconnect=on_disconnect)
    encoder = _cited(AgUiEncoder(body.threadId, body.runId), run.settings)
    return await run_once(run, start, encoder, on_disconnect=on_disconnect)


async def _answered(run: RunRequest, body: ChatRequest, files: Sequence[Attached]) -> Response:
    """Carry out a chat turn, and answer in the protocol that the request asks for."""
    if body.__pydantic_extra__:
        run.client.unsupported.check(body, run.scope)
    on_disconnect = run.on_disconnect(body.on_disconnect, run.settings.on_disconnect_chat)
    new_encoder = _protocol(run.request, body, run.settings)
    if new_encoder is None:
        return await run.once.answer(partial(_whole_answer, run, body, files, on_disconnect=on_disconnect))
    encoder = _cited(new_encoder(), run.settings)
    start = partial(run.client.chat.open, run.scope, body, files, on_disconnect=on_disconnect)
    return await run_once(run, start, encoder, on_disconnect=on_disconnect)


def _protocol(request: Request, body: ChatRequest, settings: Settings) -> Callable[[], Encoder] | None:
    """Return the encoder of the answer's protocol, None for JSON."""
    if body.stream is False:
        return None
    if "text/plain" in request.headers.get("accept", ""):
        return TextEncoder
    # The body decides, because the AI SDK and curl send the same `Accept`.
    if body.messages is not None:
        return lambda: AiSdkEncoder(continued_message_id(body.messages), file_url(settings))
    return ChatEncoder if body.stream else None


async def _whole_answer(
    run: RunRequest, body: ChatRequest, files: Sequence[Attached], *, on_disconnect: OnDisconnect
) -> Json:
    """Return the whole answer as JSON; raises `UpstreamError` for a run that failed or expired."""
    work = partial(run.client.chat.answer, run.scope, body, files, on_disconnect=on_disconnect)
    try:
        ended = await opened(run.request, run.registry, work, watches=run.is_watched(on_disconnect))
    finally:
        run.registry.leave(run.request.scope)
    if isinstance(ended, RunEnded) and ended.run["status"] not in {"failed", "expired"}:
        mode = run.settings.citations
        return chat_answer(
            ended if mode == "raw" else CitationStage(mode, file_url(run.settings)).ended(ended)
        )
    if isinstance(ended, RunEnded):
        raise error_for(ended.failure or FAILED)
    raise error_told(ended.error)


def _cited(encoder: Encoder, settings: Settings) -> Encoder:
    """Return the encoder, wrapped in one that renders citations unless they stay raw."""
    mode = settings.citations
    return encoder if mode == "raw" else CitingEncoder(encoder, CitationStage(mode, file_url(settings)))


async def _uploaded(form: FormReader, service: Files, max_files: int) -> list[Attached]:
    found: list[Attached] = []
    try:
        while (file := await form.next_file()) is not None:
            if len(found) >= max_files:
                raise BadRequestError(
                    f"At most {max_files} files a message.", param=file.field, code="too_many_files"
                )
            found.append(await service.add(form, file, found))
    except ServiceError:
        service.forget(found)
        raise
    return found


def _chat_request(form: FormReader, *, has_files: bool) -> ChatRequest:
    """Build the request from a form's fields: deep-chat's `message1`… or the names of the JSON."""
    fields: dict[str, Any] = {}
    numbered: dict[int, Any] = {}
    for name, value in form.fields:
        number = name.removeprefix(_MESSAGE)
        if name.startswith(_MESSAGE) and number.isascii() and number.isdecimal():
            numbered[int(number[:9])] = _parsed(name, value)
        elif name == "messages":
            fields[name] = _parsed(name, value)
        else:
            fields[name] = _FLAGS.get(value, value) if name == "stream" else value
    if numbered:
        fields["messages"] = [numbered[number] for number in sorted(numbered)]
    # Forms send the text field beside a file whether somebody wrote into it or not.
    if has_files and not fields.get(_MESSAGE, "").strip():
        fields.pop(_MESSAGE, None)
    try:
        return ChatRequest.model_validate(fields, context={HAS_FILES: has_files})
    except ValidationError as exc:
        raise RequestValidationError(exc.errors()) from exc


def _parsed(name: str, value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise BadRequestError(
            f"The field '{name}' is no valid JSON.", param=name, code="invalid_json"
        ) from None
